"""The panels of a run, and the embedded ones."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.cells.read import read_cells
from interp.errors import InputError
from interp.evidence import TRUE_LOADINGS
from interp.simulate import simulate

if TYPE_CHECKING:
    from anndata import AnnData

log = logging.getLogger(__name__)

# Seeds of the embedded default: the atlas, an external panel of other donors, and cells of no hematopoietic stage.
ATLAS_SEED, EXTERNAL_SEED, NEGATIVE_SEED = 0, 1, 2
# Eleven stages over all seven branches, and programs weak enough to leave an operator something to add: at full
# strength the expression itself already orders the stages as well as the true programs do.
STAGES = (
    "HSC", "CMP", "GMP", "CLP", "erythroblast", "megakaryocyte", "neutrophil", "classical monocyte", "naive B",
    "naive CD4 T", "NK",
)  # fmt: skip
STRENGTH = 0.4


@dataclass(frozen=True)
class Panels:
    """The cells of a run, from `read_cells`.

    Attributes
    ----------
    internal
        Cells that are split by donor, fitted and tested.
    external
        Other donors, for the frozen algorithm.
    negative
        Cells of no stage of the graph.
    """

    internal: AnnData
    external: AnnData | None = None
    negative: AnnData | None = None

    @property
    def hashes(self) -> dict[str, str | None]:
        """Hash of each panel."""
        return {k: None if v is None else v.uns["interp"]["panel"]["sha256"] for k, v in vars(self).items()}


def embedded_panels() -> Panels:
    """Return the embedded default: a simulated atlas, an external one, and a world without hematopoiesis."""
    atlas = simulate(n_donors=15, n_cells=6000, seed=ATLAS_SEED, stages=STAGES, strength=STRENGTH)
    external = simulate(n_donors=8, n_cells=2400, seed=EXTERNAL_SEED, stages=STAGES, strength=STRENGTH)
    negative = simulate(n_donors=6, n_cells=1500, seed=NEGATIVE_SEED, world="unrelated")
    return Panels(_read(atlas), _read(external), _read(negative, require_stages=False))


def without_stages(cells: AnnData) -> AnnData:
    """Leave out the cells of a negative panel that the stage graph knows.

    Raises
    ------
    InputError
        No cell is left.
    """
    known = cells.obs["branch"].notna().to_numpy() | cells.obs["stage"].notna().to_numpy()
    if known.all():
        msg = "all cells of the negative panel have a hematopoietic label; give cells of other tissues"
        raise InputError(msg)
    if known.any():
        log.info("%d cells of the negative panel have a hematopoietic label and are left out", known.sum())
    return cells[~known].copy()


def _read(cells: AnnData, *, require_stages: bool = True) -> AnnData:
    panel = read_cells(
        cells, donor="donor", tissue="tissue", cell_type="cell_type", study="study", require_stages=require_stages
    )
    if TRUE_LOADINGS in cells.varm:  # the truth is no part of a panel, but the headroom is measured with it
        panel.varm[TRUE_LOADINGS] = np.asarray(cells[:, panel.var_names].varm[TRUE_LOADINGS])
    return panel
