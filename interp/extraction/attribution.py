"""Which genes move a cell along the stage axis and across each contrast, with intervals over donors.

A contrast is a direction w in latent space and its genes have the weights M w of the folded map z = x M + c. Turning
the latents turns M and w alike, so M w needs no gauge, and fits of resampled donors need no Procrustes alignment. It is
also free of the scale of z, which angles leave open: the stage axis is measured in its own length, pseudotime in hops,
and readouts are fitted anew to every resample's latents. Weights are times the gene's sd, so that genes compare.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.biology.pairs import PAIRS
from interp.errors import InputError
from interp.extraction.contrasts import Contrasts
from interp.extraction.folding import fold
from interp.extraction.let import LetProblem, fit_let
from interp.extraction.span import SpanBasis
from interp.runs.progress import progress
from interp.runs.seeds import stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from interp.biology import Ruler, StageGraph
    from interp.biology.pairs import Pairs
    from interp.cells.anchors import Anchors
    from interp.extraction.contrasts import Contrast
    from interp.extraction.operator import Operator

logger = logging.getLogger(__name__)

# Resamples of the donors; a 95 % interval then leaves five out at either end.
N_BOOT = 200
LEVEL = 0.95
# A contrast is reported when so many resamples could compute it; below, its ends rest on single resamples.
MIN_BOOT = 40
COLUMNS = (
    "contrast", "kind", "negative", "positive", "gene", "rank", "weight", "lo", "hi", "bias", "sign_stability",
    "n_boot", "n_donors",
)  # fmt: skip


def attribution(
    operator: Operator,
    anchors: Anchors,
    graph: StageGraph,
    *,
    alpha: float,
    ridge: float,
    ruler: Ruler | None = None,
    pairs: Pairs = PAIRS,
    candidates: Mapping[str, Sequence[str]] | None = None,
    n_starts: int = 5,
    n_boot: int = N_BOOT,
    seed: int = 0,
) -> pd.DataFrame:
    """Attribute the folded map of an operator to genes.

    Donors are drawn with replacement within their study; adaptor and readouts are fitted to each draw anew. The
    operator stays, so the intervals do not hold what other cells would have made of it.

    Parameters
    ----------
    operator
        The operator; kept as it is.
    anchors
        Training anchors on the operator's genes; coarse labels help readouts only.
    graph
        Stage graph.
    alpha, ridge
        Weights of the adaptor's loss.
    ruler
        Distances between stages; hops of the graph by default.
    pairs, candidates
        As in `interp.extraction.readout.fit_readouts`.
    n_starts
        Starts of the fit on all donors; resamples have one, the informed start.
    n_boot
        Resamples.
    seed
        Seed of starts and draws.

    Returns
    -------
    pandas.DataFrame
        By contrast, genes in the order of the rank. contrast: ``stage axis`` (from the centroid of the shallowest to
        that of the deepest stages; the way from the one to the other is 1), ``pseudotime`` (mean gradient of the
        distance from the root's centroid, over the anchors of all other stages; hops), ``depth`` (linear readout;
        hops), each pair (log-odds of its second side), each branch against the rest (its log-odds less the other
        branches' mean). kind (``axis``, ``pair``, ``branch``), negative, positive (where the weight's sign leads);
        gene, rank (1 has the largest absolute weight), weight (for one sd of the gene over the anchors), lo, hi (95 %
        over resamples, their mean put on the weight; per gene, not over all genes), bias (mean over resamples less the
        weight; a draw holds about two thirds of the donors, so its fits are noisier and large weights shrink),
        sign_stability (share of resamples with its sign), n_boot (resamples in which the contrast could be computed;
        with fewer than 40 there is no interval), n_donors.

    Raises
    ------
    InputError
        Genes of operator and anchors differ, or no anchor has a known stage.

    Examples
    --------
    The job calls it with the parts of a `FinalFit`: ``attribution(final.operator, final.anchors, final.graph,
    alpha=final.alpha, ridge=final.ridge, ruler=final.ruler)``.
    """
    if anchors.genes != operator.genes:
        msg = (
            f"Anchors on {len(anchors.genes):,} genes were given for operator {operator.name} on "
            f"{len(operator.genes):,}; give both on the same genes, in the same order."
        )
        raise InputError(msg)
    if not anchors.exact.any():
        msg = f"None of the {len(anchors)} anchors has a known stage, so there is no adaptor to attribute."
        raise InputError(msg)
    problem = _Problem(operator, graph, ruler, alpha, ridge, Contrasts.of(anchors.obs, pairs, candidates), seed)
    whole = problem.weights(anchors, n_starts)
    drawn: dict[Contrast, list[NDArray]] = {contrast: [] for contrast in whole}
    for rows in progress(list(_resamples(anchors, n_boot, seed)), description="attribution", unit="resample"):
        for contrast, weights in problem.weights(anchors.subset(rows), 1).items():
            if contrast in drawn:
                drawn[contrast].append(weights)
    sd = anchors.features.std(axis=0)
    n_donors = anchors.obs["donor"].nunique()
    tables = [
        _table(contrast, operator.genes, weights * sd, [each * sd for each in drawn[contrast]], n_donors)
        for contrast, weights in whole.items()
    ]
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)]


@dataclass(frozen=True, eq=False)
class _Problem:
    """All that stays when donors are drawn anew."""

    operator: Operator
    graph: StageGraph
    ruler: Ruler | None
    alpha: float
    ridge: float
    contrasts: Contrasts
    seed: int

    def weights(self, anchors: Anchors, n_starts: int) -> dict[Contrast, NDArray]:
        """Weights (gene,) of every contrast that these anchors allow."""
        known = anchors.exact
        features = self.operator.apply(anchors.features)
        stages = list(anchors.obs["stage"][known])
        hops = self.graph.ruler(stages) if self.ruler is None else self.ruler.in_hops(self.graph, stages)
        if not hops.any():
            return {}
        problem = LetProblem(SpanBasis.from_features(features[known]), hops, self.alpha, self.ridge)
        fit = fit_let([problem], n_starts=n_starts, seed=self.seed, n_threads=1)[0]
        M = fold(self.operator, fit).M
        return {
            contrast: M @ w
            for contrast, w in self.contrasts.directions(fit.transform(features), fit.beta_, anchors.obs)
        }


def _resamples(anchors: Anchors, n: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Rows of the anchors of donors drawn with replacement within each study."""
    donors = anchors.obs["donor"].to_numpy(dtype=object)
    studies = anchors.obs["study"].to_numpy(dtype=object)
    groups = [sorted(set(donors[studies == study])) for study in sorted(set(studies))]
    rows = {donor: np.flatnonzero(donors == donor) for group in groups for donor in group}
    rng = stream(seed, "attribution donors")
    for _ in range(n):
        drawn = [rng.choice(len(group), size=len(group)) for group in groups]
        yield np.concatenate([rows[group[i]] for group, picks in zip(groups, drawn, strict=True) for i in picks])


def _table(
    contrast: Contrast, genes: Sequence[str], weights: NDArray, drawn: list[NDArray], n_donors: int
) -> pd.DataFrame:
    lo = hi = bias = stable = np.full(len(genes), np.nan)
    if len(drawn) >= MIN_BOOT:
        bias = np.mean(drawn, axis=0) - weights
        lo, hi = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0) - bias
        stable = (np.sign(drawn) == np.sign(weights)).mean(axis=0)
    else:
        logger.info("No interval for %s: only %d resamples have both of its sides.", contrast.name, len(drawn))
    order = np.argsort(-np.abs(weights), kind="stable")
    columns = {"gene": genes, "weight": weights, "lo": lo, "hi": hi, "bias": bias, "sign_stability": stable}
    table = pd.DataFrame(columns).iloc[order]
    about = {**vars(contrast), "contrast": contrast.name, "n_boot": len(drawn), "n_donors": n_donors}
    about.pop("name")
    return table.assign(rank=np.arange(1, len(genes) + 1), **about)
