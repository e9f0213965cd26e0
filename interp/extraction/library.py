"""The library of an extraction: the heads that were found, in every kind of operator, beside what pools all heads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.extraction.attention_operators import attention_operators
from interp.extraction.combined import top_k
from interp.extraction.kinds import ATTENTION_KINDS, WEIGHT_KINDS
from interp.extraction.weight_operators import weight_operators

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from interp.capture import AttentionSums
    from interp.extraction.operator import Operator
    from interp.extraction.weight_operators import ModelWeights


def operator_library(
    candidates: Sequence[Operator],
    scores: Sequence[float],
    *,
    pooled: AttentionSums,
    own: AttentionSums,
    weights: ModelWeights,
    provenance: Mapping[str, Any] | None = None,
) -> list[Operator]:
    """List the operators that an extraction keeps, each once, as it is applied by rows (``out``).

    Parameters
    ----------
    candidates, scores
        What the heads were chosen among, and their selection scores; make the weighted sum of the heads.
    pooled
        Sums of all heads: gives the means over thirds of the layers and the pooled drift.
    own
        Sums of the best heads, best first, with lifted and value-weighted ones.
    weights
        Of the model, on the same genes.
    provenance
        Kept with every operator.

    Returns
    -------
    list of Operator
        Per best head mean, sum, lift, value_weighted, qk and ov; gram and, where the model has one, mvc_gram; pooled
        blocks and drift of the mean, where the model has three layers; the sum of the best heads weighted by score.
    """
    heads = set(own.heads or ())
    known = {"kinds": ATTENTION_KINDS, "provenance": provenance}
    found = attention_operators(own, **known)  # type: ignore[arg-type]
    kinds = [kind for kind in WEIGHT_KINDS if kind != "mvc_gram" or weights.queries is not None]
    of_weights = weight_operators(weights, kinds=kinds, provenance=provenance)
    found += [operator for operator in of_weights if not operator.heads or operator.heads[0] in heads]
    pools = attention_operators(pooled, kinds=("mean", "pooled", "drift"), provenance=provenance)
    found += [operator for operator in pools if len(operator.heads) > 1]
    kept = [operator for operator in found if operator.orientation == "out"]
    return [*kept, top_k(candidates, scores, len(heads))] if heads else kept
