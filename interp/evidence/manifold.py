"""Every measurement of a manifold on anchors, each beside its own null; nothing is fitted, so any embedding will do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from interp.errors import InputError
from interp.evidence.nulls import coherent
from interp.geometry import (
    METRICS,
    PAIR_KINDS,
    Measured,
    blocked_permutation,
    branch_separation,
    curvature,
    flatness,
    levina_bickel,
    neighbourhoods,
    nuisance_correlation,
    participation_ratio,
    point_distances,
    ruler_agreement,
    two_nn,
)
from interp.runs.progress import progress
from interp.runs.seeds import stream
from interp.stats import permutation_p

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from interp.evidence.panel import FloatArray, Labels, Panel

# Coherent permutations of the stages (N >= 199), and draws of the nulls without stages, which only give a mean and sd.
N_NULL, N_NOISE = 199, 20
NEIGHBOURS = 15
STAGES, NOISE, ROWS = "stages permuted", "isotropic noise", "rows permuted"
SHUFFLED, BLOCKS = "branches shuffled", "stages permuted in donor x tissue"
CLOUD = "flat cloud of the same covariance"
NEIGHBOUR_MEASURES = ("trustworthiness", "continuity", "rank_error_low", "rank_error_high")
COLUMNS = (
    "measure", "metric", "pairs", "value", "lo", "hi", "null", "null_mean", "null_sd", "null_95", "p", "n", "status",
    "reason",
)  # fmt: skip


def measure_manifold(
    panel: Panel, latents: FloatArray, *, inputs: FloatArray | None = None, seed: int = 0, n_null: int = N_NULL
) -> pd.DataFrame:
    """Measure an embedding of anchors: neighbourhoods, agreement with the ruler, dimension, shape, separation.

    Parameters
    ----------
    panel
        The anchors; those without an exact stage are left out.
    latents
        The embedding, (anchor, latent).
    inputs
        What was embedded, (anchor, feature), for neighbourhoods; without, those are not computable.
    seed
        Seed of intervals and nulls.
    n_null
        Coherent permutations of the stages; the embedding stays as it is, so this is no refit.

    Returns
    -------
    pandas.DataFrame
        Columns `COLUMNS`; ``null`` says what the null columns hold, ``p`` is one-sided over the null's draws,
        ``status`` is ``ok`` or ``not computable`` with its ``reason``.

    Raises
    ------
    InputError
        There is not one row per anchor, or a value is not finite.
    """
    _check(panel, latents, inputs)
    rows = panel.exact(np.arange(len(panel)))
    points = np.ascontiguousarray(latents[rows], dtype=np.float64)
    drawn = coherent(panel.labels, n_null, seed)
    parts = [
        _neighbourhoods(None if inputs is None else inputs[rows], points, seed),
        _rulers(panel, rows, points, drawn, seed),
        _permutation(panel, rows, points, seed),
        _dimensions(panel, rows, points, seed),
        _shape(panel, rows, points, seed),
    ]
    found = [row for part in progress(parts, description="geometry", unit="part") for row in part]
    return pd.DataFrame(found, columns=list(COLUMNS))


def _check(panel: Panel, latents: FloatArray, inputs: FloatArray | None) -> None:
    for name, values in (("latents", latents), ("inputs", inputs)):
        if values is not None and (len(values) != len(panel) or not np.isfinite(values).all()):
            msg = f"{name} of shape {np.shape(values)} for {len(panel)} anchors; give one finite row per anchor"
            raise InputError(msg)


def _row(
    measure: str,
    found: Measured,
    *,
    metric: str = "",
    pairs: str = "",
    null: str = "",
    draws: FloatArray | None = None,
    n: int = 0,
    higher_is_better: bool = True,
) -> dict[str, object]:
    """Lay one measurement out; draws of its null give mean, sd, the 95 % bound on its better side, and p."""
    row: dict[str, object] = {
        "measure": measure, "metric": metric, "pairs": pairs, "value": found.value, "lo": found.lo, "hi": found.hi,
        "null": null, "null_mean": found.null_mean, "null_sd": found.null_sd, "n": n,
        "status": "ok" if found.computable else "not computable", "reason": found.reason,
    }  # fmt: skip
    known = np.array([]) if draws is None else draws[np.isfinite(draws)]
    if len(known) and found.computable:
        row |= {"null_mean": known.mean(), "null_sd": known.std(ddof=1) if len(known) > 1 else np.nan}
        p = permutation_p(found.value, known, higher_is_better=higher_is_better).p
        row |= {"null_95": np.percentile(known, 95 if higher_is_better else 5), "p": p}
    return row


def _neighbourhoods(inputs: FloatArray | None, points: FloatArray, seed: int) -> Iterator[dict[str, object]]:
    if inputs is None:
        missing = Measured.missing("what was embedded is not given")
        yield from (_row(name.replace("_", " "), missing) for name in NEIGHBOUR_MEASURES)
        return
    rng = stream(seed, "geometry rows permuted")
    found = neighbourhoods(inputs, points, k=NEIGHBOURS)
    draws = [neighbourhoods(inputs, rng.permutation(points), k=NEIGHBOURS) for _ in range(N_NOISE)]
    for name in NEIGHBOUR_MEASURES:
        null = np.array([getattr(draw, name).value for draw in draws])
        better = not name.startswith("rank_error")
        row = _row(
            name.replace("_", " "), getattr(found, name), null=ROWS, draws=null, n=len(points), higher_is_better=better
        )
        yield row


def _rulers(
    panel: Panel, rows: np.ndarray, points: FloatArray, drawn: list[Labels], seed: int
) -> Iterator[dict[str, object]]:
    obs, stages = panel.obs.iloc[rows], panel.classes[rows]
    own = {"stages": stages, "studies": panel.studies[rows]}
    nuisance = {"donors": panel.donors[rows], "tissues": obs["tissue"].to_numpy(), "studies": panel.studies[rows]}
    ruler = panel.ruler(rows)
    others = [panel.ruler(rows, labels) for labels in drawn]
    for metric in METRICS:
        distances = point_distances(points, metric)
        found = ruler_agreement(distances, ruler, **own, donors=panel.donors[rows], seed=seed)
        nulls = [ruler_agreement(distances, other, **own, n_boot=0) for other in others]
        for kind in PAIR_KINDS:
            for name in ("spearman", "pearson"):
                draws = np.array([getattr(null[kind], name).value for null in nulls])
                agreement = found[kind]
                row = _row(
                    f"{name} with the ruler",
                    getattr(agreement, name),
                    metric=metric,
                    pairs=kind,
                    null=STAGES,
                    draws=draws,
                    n=agreement.n_pairs,
                )
                yield row
        left = nuisance_correlation(distances, ruler, **nuisance)
        draws = np.array([nuisance_correlation(distances, other, **nuisance).value for other in others])
        name, n = "spearman, donor, tissue and study removed", found["all"].n_pairs
        yield _row(name, left, metric=metric, pairs="all", null=STAGES, draws=draws, n=n)


def _permutation(panel: Panel, rows: np.ndarray, points: FloatArray, seed: int) -> Iterator[dict[str, object]]:
    obs = panel.obs.iloc[rows]
    blocks = (obs["donor"].astype(str) + "\n" + obs["tissue"].astype(str)).to_numpy()
    found = blocked_permutation(
        point_distances(points, "arc"),
        panel.labels.ruler,
        panel.classes[rows],
        blocks,
        rng=stream(seed, "geometry blocked permutation"),
        studies=panel.studies[rows],
    )
    for kind, outcome in found.items():
        reason = getattr(outcome, "reason", "")
        measured = Measured.missing(reason) if reason else Measured(outcome.p)
        yield _row("blocked permutation p", measured, metric="arc", pairs=kind, null=BLOCKS, n=outcome.n) | {
            "p": outcome.p
        }


def _dimensions(panel: Panel, rows: np.ndarray, points: FloatArray, seed: int) -> Iterator[dict[str, object]]:
    measures: dict[str, Callable[..., Measured]] = {
        "dimension, TwoNN": two_nn,
        "dimension, maximum likelihood": levina_bickel,
        "participation ratio": participation_ratio,
    }
    rng = stream(seed, "geometry isotropic noise")
    noise = [rng.standard_normal(points.shape) for _ in range(N_NOISE)]
    for name, measure in measures.items():
        found = measure(points, donors=panel.donors[rows], seed=seed)
        draws = np.array([measure(draw, n_boot=0).value for draw in noise])
        # neither a high nor a low dimension is better, so there is no p
        yield _row(name, found, null=NOISE, draws=draws, n=len(points)) | {"p": np.nan}


def _shape(panel: Panel, rows: np.ndarray, points: FloatArray, seed: int) -> Iterator[dict[str, object]]:
    donors = panel.donors[rows]
    yield _row("flatness", flatness(points, donors=donors, seed=seed), null=NOISE, n=len(points))
    yield _row("curvature", curvature(points, donors=donors, seed=seed), null=CLOUD, n=len(points))
    branch = np.array(panel.labels.branch, dtype=object)[panel.classes[rows]]
    apart = branch_separation(point_distances(points, "arc"), branch, seed=seed)
    yield _row("silhouette of branches", apart.silhouette, metric="arc", null=SHUFFLED, n=len(points))
    yield _row("between over within branches", apart.contrast, metric="arc", null=SHUFFLED, n=len(points))
