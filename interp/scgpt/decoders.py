"""What reads the residual stream: expression of every token, and expression from the cell's row alone (MVC)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from interp.scgpt.hooked import HookPoint

if TYPE_CHECKING:
    from jaxtyping import Float

    from interp.scgpt.config import ScGPTConfig

INNER_PRODUCT, CONCAT_QUERY, SUM_QUERY = "inner product", "concat query", "sum query"
MVC_HIDDEN = 64  # width of the hidden layer, and of the query in the concat style, in scGPT 0.2.4


class LeakyMLP(nn.Sequential):
    """Three linear layers with LeakyReLU between them, down to one number."""

    def __init__(self, d_in: int, width: int) -> None:
        super().__init__(
            nn.Linear(d_in, width), nn.LeakyReLU(), nn.Linear(width, width), nn.LeakyReLU(), nn.Linear(width, 1)
        )
        for name in ("pre_0", "post_0", "pre_1", "post_1", "out"):
            setattr(self, f"hook_{name}", HookPoint())

    def forward(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, ...]:
        """Return one number per vector."""
        x = self.hook_post_0(self[1](self.hook_pre_0(self[0](x))))
        x = self.hook_post_1(self[3](self.hook_pre_1(self[2](x))))
        return self.hook_out(self[4](x).squeeze(-1))


class ExpressionDecoder(nn.Module):
    """Masked-value head: predicts the bin of every token from its row, and whether there is any expression."""

    def __init__(self, config: ScGPTConfig) -> None:
        super().__init__()
        self.fc = LeakyMLP(config.d_decoder, config.d_model)
        self.explicit_zero = config.explicit_zero_prob
        if self.explicit_zero:
            self.zero_logit = LeakyMLP(config.d_decoder, config.d_model)
            self.hook_nonzero = HookPoint()

    def forward(self, x: Float[Tensor, "... d_decoder"]) -> Float[Tensor, ...]:
        """Return the predicted bin of every token."""
        return self.fc(x)

    def nonzero(self, x: Float[Tensor, "... d_decoder"]) -> Float[Tensor, ...] | None:
        """Return the probability that each token's value is not zero; None where the model has no such head."""
        return self.hook_nonzero(torch.sigmoid(self.zero_logit(x))) if self.explicit_zero else None


class MVCDecoder(nn.Module):
    """Predicts gene values from the cell's row alone, by the inner product with a query vector of each gene."""

    def __init__(self, config: ScGPTConfig) -> None:
        super().__init__()
        d_model = config.d_model
        self.gene2query = nn.Linear(d_model, d_model)
        self.W = nn.Linear(d_model, config.d_decoder, bias=False)
        self.detached = config.mvc_style.endswith("detach")
        self.explicit_zero = config.explicit_zero_prob
        for name in ("query_pre", "query_post", "query", "out"):
            setattr(self, f"hook_{name}", HookPoint())
        if self.explicit_zero:
            self.W_zero_logit = nn.Linear(d_model, config.d_decoder)
            self.hook_zero_query, self.hook_zero_logit, self.hook_nonzero = HookPoint(), HookPoint(), HookPoint()

    def queries(self, genes: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_decoder"]:
        """Return the query vectors of genes from their embedding after LayerNorm."""
        return self.hook_query(self.W(self._activated(genes)))

    def forward(
        self, cell: Float[Tensor, "cell d_decoder"], genes: Float[Tensor, "cell token d_model"]
    ) -> tuple[Float[Tensor, "cell token"], Float[Tensor, "cell token"] | None]:
        """Return the bin predicted for each gene of each cell from the cell's row, and the chance of it not being zero.

        The second is None where the model has no such head.
        """
        activated = self._activated(genes)
        predicted = self.hook_out(_inner(self.hook_query(self.W(activated)), cell))
        if not self.explicit_zero:
            return predicted, None
        logit = self.hook_zero_logit(_inner(self.hook_zero_query(self.W_zero_logit(activated)), cell))
        return predicted, self.hook_nonzero(torch.sigmoid(logit))

    def _activated(self, genes: Tensor) -> Tensor:
        pre = self.hook_query_pre(self.gene2query(genes.detach() if self.detached else genes))
        return self.hook_query_post(torch.sigmoid(pre))


class HiddenMVCDecoder(nn.Module):
    """Predicts gene values from the cell's row and a query of each gene, joined or summed, by a hidden layer."""

    def __init__(self, config: ScGPTConfig) -> None:
        super().__init__()
        d_model, self.joined = config.d_model, config.mvc_style == CONCAT_QUERY
        self.gene2query = nn.Linear(d_model, MVC_HIDDEN if self.joined else d_model)
        self.fc1 = nn.Linear(d_model + MVC_HIDDEN if self.joined else d_model, MVC_HIDDEN)
        self.hidden_activation = nn.PReLU()
        self.fc2 = nn.Linear(MVC_HIDDEN, 1)
        for name in ("query_pre", "query_post", "hidden_pre", "hidden_post", "out"):
            setattr(self, f"hook_{name}", HookPoint())

    def forward(
        self, cell: Float[Tensor, "cell d_model"], genes: Float[Tensor, "cell token d_model"]
    ) -> tuple[Float[Tensor, "cell token"], None]:
        """Return the bin predicted for each gene of each cell from the cell's row; these styles have no zero head."""
        query = self.hook_query_post(torch.sigmoid(self.hook_query_pre(self.gene2query(genes))))
        rows = cell.unsqueeze(1)
        both = torch.cat([rows.expand(-1, query.shape[1], -1), query], -1) if self.joined else rows + query
        hidden = self.hook_hidden_post(self.hidden_activation(self.hook_hidden_pre(self.fc1(both))))
        return self.hook_out(self.fc2(hidden).squeeze(-1)), None


def mvc_decoder(config: ScGPTConfig) -> MVCDecoder | HiddenMVCDecoder:
    """Return the MVC decoder of the configuration's style.

    Parameters
    ----------
    config
        `mvc_style` is ``"inner product"`` (also with ``", detach"``), ``"concat query"`` or ``"sum query"``.

    Returns
    -------
    MVCDecoder or HiddenMVCDecoder
        A module from cell rows and gene embeddings to predictions, (cell, token).
    """
    return HiddenMVCDecoder(config) if config.mvc_style in (CONCAT_QUERY, SUM_QUERY) else MVCDecoder(config)


def _inner(queries: Tensor, cell: Tensor) -> Tensor:
    return torch.einsum("ctd,cd->ct", queries, cell)
