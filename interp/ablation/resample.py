"""Activations of another donor's cell in place of a cell's own, gene by gene."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from interp.ablation.labels import cell_rows, check_labels
from interp.ablation.passes import batches, watch
from interp.ablation.replacements import check_sites
from interp.capture.forward import check_model
from interp.errors import InputError
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jaxtyping import Bool, Float, Int
    from torch import Tensor

    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens


@dataclass(frozen=True, eq=False, repr=False)
class Resample:
    """The activation of a partner: a cell of another donor, drawn once for every cell. Made by `Resample.of`.

    Rows are aligned by gene, `<cls>` to `<cls>`; a gene that the partner does not have gets the partner's mean over
    its genes.

    Attributes
    ----------
    pool
        Cells that partners are among.
    partner_of
        Row of each cell's partner in the pool, by the cell's name.
    """

    pool: GeneTokens
    partner_of: Mapping[str, int]

    def __repr__(self) -> str:
        """Say how many cells have a partner."""
        return f"Resample({len(self.partner_of):,} cells)"

    @classmethod
    def of(
        cls,
        model: HookedScGPT,
        tokens: GeneTokens,
        *,
        donors: Sequence[str] | np.ndarray,
        groups: Sequence[str] | np.ndarray | None = None,
        same: bool = True,
        seed: int = 0,
    ) -> Resample:
        """Draw a partner for every cell: another donor, each as likely, and one of its cells, each as likely.

        A cell's partner depends on the seed, the names and the labels, not on the order of the cells.

        Parameters
        ----------
        model
            The model.
        tokens
            The cells, which are each other's partners.
        donors
            Donor of each cell.
        groups
            Label of each cell, such as its type; partners are drawn whatever their label when None.
        same
            Whether the partner is of the same group, or of another one.
        seed
            Whole number.

        Raises
        ------
        InputError
            Labels do not fit, there is one donor only, or a group has no partner in other donors.
        """
        check_model(model)
        donor = check_labels(donors, tokens, "donors")
        if len(set(donor)) < 2:
            msg = f"partners come from other donors, and these {len(tokens):,} cells are of one; give at least two"
            raise InputError(msg)
        if groups is None and not same:
            msg = "same=False asks for a partner of another group; give groups=, one label per cell"
            raise InputError(msg)
        group = np.full(len(tokens), "") if groups is None else check_labels(groups, tokens, "groups")
        rows = _partners(tokens, donor, group, same=same, seed=seed)
        return cls(tokens, dict(zip(tokens.cell_ids, rows, strict=True)))

    def values(self, model: HookedScGPT, tokens: GeneTokens, names: Sequence[str]) -> dict[str, Tensor]:
        """Return the partners' activations, aligned to the cells' genes, each (cell, token, ...).

        Raises
        ------
        InputError
            A cell has no partner, or a hook point no rows.
        """
        names = check_sites(model, names)
        partners = self.pool[cell_rows(tokens, self.partner_of, "Resample.of")]
        found: dict[str, Tensor] = {}
        for rows in batches(model, partners):
            partner = partners[rows]
            ids, padding = (part.to(model.device) for part in (partner.gene_ids, partner.padding))
            place, met = align(tokens.gene_ids[torch.from_numpy(rows)].to(model.device), ids)

            def keep(name: str, x: Tensor, rows=rows, place=place, met=met, padding=padding) -> None:
                # outside of inference mode, so that autograd may keep what is made of it
                with torch.inference_mode(mode=False):
                    if name not in found:
                        found[name] = x.new_empty((*tokens.gene_ids.shape, *x.shape[2:]))
                    found[name][torch.from_numpy(rows)] = aligned(x, place, met, padding)

            watch(model, partner, {name: partial(keep, name) for name in names})
        return found


def align(
    gene_ids: Int[Tensor, "cell token"], partner_ids: Int[Tensor, "cell partner_token"]
) -> tuple[Int[Tensor, "cell token"], Bool[Tensor, "cell token"]]:
    """Find the genes of cells among those of their partners.

    Parameters
    ----------
    gene_ids, partner_ids
        Token ids of cells and of their partners.

    Returns
    -------
    place, met
        Where the partner has the token, and whether it has it at all.

    Examples
    --------
    >>> place, met = align(torch.tensor([[9, 4, 5]]), torch.tensor([[9, 7, 5, 6]]))
    >>> place[met].tolist(), met.tolist()
    ([0, 2], [[True, False, True]])
    """
    ordered, order = partner_ids.sort(1)
    spot = torch.searchsorted(ordered, gene_ids).clamp(max=partner_ids.shape[1] - 1)
    return order.gather(1, spot), ordered.gather(1, spot) == gene_ids


def aligned(
    x: Float[Tensor, "cell partner_token ..."],
    place: Int[Tensor, "cell token"],
    met: Bool[Tensor, "cell token"],
    padding: Bool[Tensor, "cell partner_token"],
) -> Float[Tensor, "cell token ..."]:
    """Return the rows of partners in the order of the cells' tokens; their mean over genes where they have none.

    Parameters
    ----------
    x
        Activations of the partners.
    place, met
        From `align`.
    padding
        Where the partners have no token.
    """
    genes = ~padding
    genes[:, 0] = False
    weights = genes.to(x) / genes.sum(1, keepdim=True)
    mean = torch.einsum("ct,ct...->c...", weights, x).unsqueeze(1)
    cells = torch.arange(len(x), device=x.device).unsqueeze(1)
    return torch.where(met.reshape(*met.shape, *[1] * (x.dim() - 2)), x[cells, place], mean)


def _partners(tokens: GeneTokens, donor: np.ndarray, group: np.ndarray, *, same: bool, seed: int) -> list[int]:
    lengths, ids = tokens.lengths, np.array(tokens.cell_ids)
    held: dict[str, dict[str, list[int]]] = {}  # by group and donor
    for row in np.argsort(ids):
        if lengths[row] > 1:  # a partner without genes has no mean over them
            held.setdefault(group[row], {}).setdefault(donor[row], []).append(int(row))
    candidates: dict[tuple[str, str], list[list[int]]] = {}
    for own_group, own_donor in sorted(set(zip(group.tolist(), donor.tolist(), strict=True))):
        by_donor: dict[str, list[int]] = {}
        for other, donors in held.items():
            if (other == own_group) == same:
                for name, rows in donors.items():
                    by_donor.setdefault(name, []).extend(rows)
        found = [sorted(by_donor[name], key=lambda row: ids[row]) for name in sorted(by_donor) if name != own_donor]
        if not found:
            wanted = "this" if same else "another"
            label = f" of the group {own_group!r}" if own_group else ""
            msg = (
                f"cells{label} of the donor {own_donor!r} have no partner: no other donor has a cell with genes of "
                f"{wanted} group; leave them out, or draw partners without groups="
            )
            raise InputError(msg)
        candidates[own_group, own_donor] = found
    chosen = []
    for name, own_group, own_donor in zip(tokens.cell_ids, group, donor, strict=True):
        rng = stream(seed, "ablation.resample", name)
        others = candidates[own_group, own_donor]
        rows = others[rng.integers(len(others))]
        chosen.append(rows[rng.integers(len(rows))])
    return chosen
