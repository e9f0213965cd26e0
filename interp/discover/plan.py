"""What a run compares: donor splits, the genes of each split, and what is known of the panels before any fit."""

from __future__ import annotations

import logging
from itertools import combinations
from typing import TYPE_CHECKING

import pandas as pd

from interp.cells.anchors import KEYS, MIN_CELLS
from interp.cells.disjoint import check_disjoint
from interp.cells.panel import operator_genes
from interp.errors import InputError
from interp.evidence import WHOLE
from interp.evidence.negative import check_types
from interp.stats import donor_folds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from interp.biology import Ruler
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


def check_ruler(panels: Panels, ruler: Ruler) -> None:
    """Refuse a ruler that is too small for the panels.

    Raises
    ------
    InputError
        It lacks a stage of the internal or of the external panel, or has fewer stages than the negative panel has cell
        types that make an anchor.
    """
    for panel in (panels.internal, panels.external):
        if panel is not None:
            ruler.of(sorted(set(panel.obs["stage"].dropna().astype(str))))
    if panels.negative is not None:
        sizes = panels.negative.obs.groupby(list(KEYS), observed=True).size()
        types = set(sizes[sizes >= MIN_CELLS].index.get_level_values("cell_type"))
        check_types(len(types), len(ruler.stages))


def label_report(panels: Panels) -> pd.DataFrame:
    """Return how every label of every panel met the stage graph."""
    return pd.concat(
        pd.DataFrame(panel.uns["interp"]["labels"]).assign(panel=name)
        for name, panel in vars(panels).items()
        if panel is not None
    )


def disjoint_report(panels: Panels) -> pd.DataFrame:
    """Return whether any two panels share donors or cells.

    Returns
    -------
    pandas.DataFrame
        As from `check_disjoint`, after the two panels that each row compares: panel, other.

    Raises
    ------
    InputError
        Two panels share cells, or the external one shares donors with the internal one. The negative panel may come
        from donors of another panel (cells of another tissue); that is shown.
    """
    given = [(name, panel) for name, panel in vars(panels).items() if panel is not None]
    reports = []
    for (other, first), (name, second) in combinations(given, 2):
        report = check_disjoint(first, second)
        _refuse_shared(report, name, other)
        report.insert(0, "panel", name)
        report.insert(1, "other", other)
        reports.append(report)
    return pd.concat(reports) if reports else pd.DataFrame(columns=["panel", "other", "check", "status"])


def _refuse_shared(report: pd.DataFrame, name: str, other: str) -> None:
    allowed = ("donors",) if "negative" in (name, other) else ()
    shared = report[~report["ok"] & ~report["check"].isin(allowed)]
    if len(shared):
        found = "; ".join(f"{row.n_shared:,} {row.check} ({row.examples})" for row in shared.itertuples())
        msg = f"the {name} and the {other} panel share {found}; panels hold different cells, and an external one other "
        msg += "donors: leave these out of one of the two"
        raise InputError(msg)
