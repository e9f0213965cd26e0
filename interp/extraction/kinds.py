"""The kinds of operators (design, section 4): what is made of attention, of weights, and of several heads together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

# Of attention over cells: "sum" is the paper's convention (arXiv:2603.10261); "mean" divides it by the cells with both
# genes; "lift" is the mean of pattern times the cell's tokens, 1 where a head attends evenly; "value_weighted" the mean
# of pattern times the norm of the value that it moves (Kobayashi et al. 2020).
ATTENTION_KINDS = ("mean", "sum", "lift", "value_weighted")
# Of weights, direct path, biases dropped: "qk" and "ov" per head, "gram" of the gene embedding, "mvc_gram" of the gene
# queries of the MVC decoder.
HEAD_WEIGHT_KINDS = ("qk", "ov")
WEIGHT_KINDS = (*HEAD_WEIGHT_KINDS, "gram", "mvc_gram")
# Of several heads, in every attention kind that is asked for: means over thirds of the layers, and their differences.
POOLS = ("pooled", "drift")
KINDS = (*ATTENTION_KINDS, *WEIGHT_KINDS, *POOLS)
DEFAULT_KINDS = ("mean", "sum", "drift")


def check_kinds(kinds: Iterable[str], known: tuple[str, ...] = KINDS) -> tuple[str, ...]:
    """Return kinds as a tuple.

    Raises
    ------
    InputError
        One is unknown or given twice, none is given, or pools are asked for without a kind of attention to pool.
    """
    kinds = (kinds,) if isinstance(kinds, str) else tuple(kinds)
    unknown = [kind for kind in kinds if kind not in known]
    if unknown:
        msg = f"There is no operator kind {', '.join(map(repr, unknown))}; give some of {', '.join(known)}."
        raise InputError(msg)
    if not kinds or len(set(kinds)) < len(kinds):
        msg = f"Operator kinds {', '.join(kinds) or '(none)'}: give each once, and at least one of {', '.join(known)}."
        raise InputError(msg)
    pools = [kind for kind in kinds if kind in POOLS]
    if pools and not set(kinds) & set(ATTENTION_KINDS):
        msg = f"{' and '.join(pools)} pool attention over heads: add one of {', '.join(ATTENTION_KINDS)} to the kinds."
        raise InputError(msg)
    return kinds
