"""What a run compares: donor splits, the genes of each split, and what is known of the panels before any fit."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pandas as pd

from interp.cells.disjoint import check_disjoint
from interp.cells.panel import operator_genes
from interp.evidence import WHOLE
from interp.stats import donor_folds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from interp.discover.panels import Panels
    from interp.stats import Split

log = logging.getLogger(__name__)


def plan_splits(cells: AnnData, n_splits: int, seed: int) -> list[Split]:
    """Split the donors into folds, each study's donors spread over them; none with one donor."""
    donors, studies = (cells.obs[name].astype(str).to_numpy() for name in ("donor", "study"))
    n_donors = len(set(donors))
    if n_donors < 2:
        log.warning("The panel has one donor: nothing can be held out, so donor gates and verdicts are not computable.")
        return []
    return donor_folds(donors, min(n_splits, n_donors), seed, strata=studies)


def plan_genes(
    panels: Panels, splits: Sequence[Split], vocabulary: Sequence[str], n_genes: int
) -> dict[str, list[str]]:
    """Choose the genes of each split on its training donors, and those of all donors; by split id.

    The external panel must have measured them; the negative one need not.
    """
    others = [] if panels.external is None else [panels.external]

    def choose(donors: tuple[str, ...] | None) -> list[str]:
        return operator_genes(
            panels.internal, vocabulary=vocabulary, n_top=n_genes, training_donors=donors, extra=others
        )

    return {split.id: choose(split.train_donors) for split in splits} | {WHOLE: choose(None)}


def label_report(panels: Panels) -> pd.DataFrame:
    """Return how every label of every panel met the stage graph."""
    return pd.concat(
        pd.DataFrame(panel.uns["interp"]["labels"]).assign(panel=name)
        for name, panel in vars(panels).items()
        if panel is not None
    )


def disjoint_report(panels: Panels) -> pd.DataFrame:
    """Return whether the other panels share donors or cells with the internal one.

    Raises
    ------
    InputError
        The external panel does.
    """
    reports = [
        check_disjoint(panels.internal, panel, raise_if_shared=name == "external").assign(panel=name)
        for name, panel in vars(panels).items()
        if panel is not None and name != "internal"
    ]
    return pd.concat(reports) if reports else pd.DataFrame(columns=["panel", "check", "status"])
