"""Operators of a model's weights alone: query-key and output-value circuits, and inner products of gene vectors."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import InputError
from interp.extraction.kinds import HEAD_WEIGHT_KINDS, WEIGHT_KINDS, check_kinds
from interp.extraction.operator import ORIENTATIONS, Operator

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

    from interp.scgpt.model import HookedScGPT

# The weight on the side of the query (for "ov": of the key), and whether its last axis is d_head.
_SIDES = {"qk": ("W_Q", "W_K"), "ov": ("W_V", "W_O")}


@dataclass(frozen=True, eq=False)
class ModelWeights:
    """What weight operators are made of: gene vectors of a panel and the projections of every head, in NumPy.

    Attributes
    ----------
    genes
        Symbols of the panel.
    embedding
        Their embedding after its LayerNorm, (gene, d_model).
    heads
        W_Q, W_K, W_V (each head, d_model, d_head) and W_O (head, d_head, d_model) of every layer, by name; views on
        the model's own where it lies on the CPU.
    queries
        Gene queries of the MVC decoder, (gene, d_decoder); None for models whose MVC decoder is no inner product.
    """

    genes: tuple[str, ...]
    embedding: Float[np.ndarray, "gene d_model"]
    heads: tuple[Mapping[str, NDArray], ...]
    queries: Float[np.ndarray, "gene d_decoder"] | None = None

    @classmethod
    def of(cls, model: HookedScGPT, genes: Sequence[str]) -> ModelWeights:
        """Read them from a model.

        Raises
        ------
        VocabularyError
            A gene is not in the vocabulary.
        """
        import torch

        from interp.scgpt.decoders import MVCDecoder

        with torch.no_grad():
            ids = torch.from_numpy(model.vocabulary.ids(genes)).to(model.device)
            embedding = model.encoder(ids)
            decoder = getattr(model, "mvc_decoder", None)
            queries = decoder.queries(embedding) if isinstance(decoder, MVCDecoder) else None
        heads = tuple(
            {name: _plain(getattr(block.attn, name)) for name in ("W_Q", "W_K", "W_V", "W_O")} for block in model.blocks
        )
        return cls(tuple(genes), _plain(embedding), heads, None if queries is None else _plain(queries))

    @property
    def nbytes(self) -> int:
        """Bytes that the arrays take."""
        arrays = [self.embedding, *(array for layer in self.heads for array in layer.values())]
        return sum(array.nbytes for array in arrays) + (0 if self.queries is None else self.queries.nbytes)

    def subset(self, genes: Sequence[str]) -> ModelWeights:
        """Return those of some of the genes, in the given order.

        Raises
        ------
        InputError
            A gene is not among them.
        """
        at = {gene: i for i, gene in enumerate(self.genes)}
        missing = [gene for gene in genes if gene not in at]
        if missing:
            msg = f"{len(missing)} genes are not among these weights, such as {missing[:3]}; read them with all genes"
            raise InputError(msg)
        keep = [at[gene] for gene in genes]
        queries = None if self.queries is None else self.queries[keep]
        return replace(self, genes=tuple(genes), embedding=self.embedding[keep], queries=queries)


def weight_operators(
    weights: ModelWeights, *, kinds: Iterable[str] = WEIGHT_KINDS, provenance: Mapping[str, Any] | None = None
) -> list[Operator]:
    """List the operators of weights, on the direct path and without biases; all hold factors, made on demand.

    With E the gene embedding after its LayerNorm and Q the gene queries of the MVC decoder:

    ==========  ==============================  ============  =================
    kind        matrix                          rank at most  orientations
    ==========  ==============================  ============  =================
    qk          E W_Q W_K' E' / sqrt(d_head)    d_head        both, of each head
    ov          E W_V W_O E'                    d_head        both, of each head
    gram        E E'                            d_model       one: symmetric
    mvc_gram    Q Q'                            d_decoder     one: symmetric
    ==========  ==============================  ============  =================

    Parameters
    ----------
    weights
        Of a model, on the genes of the operators.
    kinds
        Some of `WEIGHT_KINDS`; others of `interp.extraction.kinds.KINDS` are passed over.
    provenance
        Kept with every operator.

    Returns
    -------
    list of Operator
        Head x kind x orientation, then those of the genes.

    Raises
    ------
    InputError
        A kind is unknown, or the model has no gene queries and ``mvc_gram`` was asked for.

    Examples
    --------
    >>> import interp
    >>> model = interp.load_model("scgpt-sim")
    >>> operators = weight_operators(ModelWeights.of(model, ["CD34", "GATA1"]), kinds=["gram"])
    >>> operators[0].name, operators[0].matrix.shape
    ('gram.out', (2, 2))
    """
    kinds = check_kinds(kinds)
    shared: dict[str, Any] = {"genes": weights.genes, "provenance": dict(provenance or {})}
    operators = []
    for layer, projections in enumerate(weights.heads):
        for head in range(len(projections["W_Q"])):
            for kind in (kind for kind in kinds if kind in HEAD_WEIGHT_KINDS):
                factors: dict[str, Any] = {
                    side: partial(_side, weights, layer, head, kind, side) for side in ("left", "right")
                }
                operators += [
                    Operator(
                        f"L{layer}H{head}.{kind}.{turned}", kind, turned, heads=((layer, head),), **shared, **factors
                    )
                    for turned in ORIENTATIONS
                ]
    for kind, vectors in (("gram", weights.embedding), ("mvc_gram", weights.queries)):
        if kind in kinds:
            if vectors is None:
                msg = (
                    "This model has no MVC decoder by inner product, so its genes have no queries; leave mvc_gram out."
                )
                raise InputError(msg)
            left = vectors.astype(np.float64)
            operators.append(Operator(f"{kind}.out", kind, "out", left=left, right=left.T, **shared))
    return operators


def needed_weights(model: HookedScGPT, genes: Sequence[str], kinds: Iterable[str]) -> ModelWeights | None:
    """Read the weights that some kinds of operators are made of; None where they are made of attention only.

    Raises
    ------
    InputError
        As `weight_operators`; and `VocabularyError`, a gene is not in the vocabulary.
    """
    if not set(kinds) & set(WEIGHT_KINDS):
        return None
    weights = ModelWeights.of(model, genes)
    weight_operators(weights, kinds=kinds)
    return weights


def _side(weights: ModelWeights, layer: int, head: int, kind: str, side: str) -> NDArray:
    """Make a factor of a head's operator: (gene, d_head) on the left, (d_head, gene) on the right."""
    embedding = weights.embedding.astype(np.float64)
    name = _SIDES[kind][side == "right"]
    weight = weights.heads[layer][name][head].astype(np.float64)
    if side == "left":
        scale = 1 / math.sqrt(weight.shape[1]) if kind == "qk" else 1.0
        return embedding @ weight * scale
    return weight @ embedding.T if name == "W_O" else (embedding @ weight).T


def _plain(tensor: Tensor) -> NDArray:
    return tensor.detach().float().cpu().numpy()
