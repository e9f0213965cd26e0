"""One variant of the adaptor against another, donor by donor, each as its own training donors chose it."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pandas as pd

from interp.evidence.adaptor_fits import VARIANTS
from interp.runs.seeds import stream
from interp.stats import bootstrap_interval, detectable_effect, sign_flip

if TYPE_CHECKING:
    from collections.abc import Iterable

COLUMNS = (
    "endpoint", "variant", "other", "n_donors", "value", "other_value", "effect", "lo", "hi", "p", "smallest_p",
    "detectable",
)  # fmt: skip
# The test is two-sided at 5 %; power is that of one side.
ALPHA = 0.025


def adaptor_comparison(values: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Compare the variants with each other, endpoint by endpoint.

    Parameters
    ----------
    values
        ``values`` of `AdaptorTables`. Of each variant the row counts that the inner criterion chose in each split.
    seed
        Seed of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        One row per endpoint and pair of variants: n_donors (those that both can be computed in), value and other_value
        (means), effect (mean paired difference, variant minus other), lo and hi (95 % bootstrap over donors), p
        (two-sided exact sign-flip), smallest_p (what so many donors can reach), detectable (effect shown with 80 %
        power).
    """
    chosen = values[values["chosen_of_variant"]]
    rows = []
    for endpoint, some in chosen.groupby("endpoint", sort=False):
        # One number per donor and variant: the mean over the splits that test the donor.
        wide = some.groupby(["donor", "variant"])["value"].mean().unstack("variant")
        for other, variant in combinations([name for name in VARIANTS if name in wide], 2):
            rows.append(_compared(str(endpoint), wide, variant, other, seed))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _compared(endpoint: str, wide: pd.DataFrame, variant: str, other: str, seed: int) -> Iterable[object]:
    both = wide[[variant, other]].dropna()
    n = len(both)
    if n == 0:
        return (endpoint, variant, other, 0, *[float("nan")] * 8)
    difference = (both[variant] - both[other]).to_numpy()
    flips = sign_flip(difference, "two-sided", seed=seed)
    lo, hi = bootstrap_interval(difference, rng=stream(seed, f"adaptors {endpoint} {variant} {other}"))
    detectable = detectable_effect(float(difference.std(ddof=1)), n, alpha=ALPHA) if n > 1 else float("inf")
    means = (float(both[variant].mean()), float(both[other].mean()), float(difference.mean()))
    return (endpoint, variant, other, n, *means, lo, hi, flips.p, flips.smallest_p, detectable)
