"""Splits of rows (cells or anchors) in which no donor stands on both sides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from interp.errors import InputError
from interp.runs.seeds import stream


@dataclass(frozen=True, eq=False)
class Split:
    """One division of rows into training and test rows by donor.

    Parameters
    ----------
    id
        Name of the split, such as ``"fold0"``.
    train_donors, test_donors
        Sorted donor names; disjoint.
    train, test
        Row numbers, ascending, int64.
    """

    id: str
    train_donors: tuple[str, ...]
    test_donors: tuple[str, ...]
    train: NDArray[np.int64]
    test: NDArray[np.int64]


def donor_folds(donors: ArrayLike, n_splits: int, seed: int, *, strata: ArrayLike | None = None) -> list[Split]:
    """Divide the donors into folds; every donor is tested exactly once.

    Parameters
    ----------
    donors
        Donor name of each row.
    n_splits
        Number of folds, from 2 to the number of donors; fold sizes differ by at most one donor.
    seed
        Seed of the shuffle; the order of the rows does not matter.
    strata
        Group of each row, such as its study; each group's donors are spread over the folds.

    Returns
    -------
    list of Split
        ``fold0``, ``fold1``, ...

    Raises
    ------
    InputError
        A row has no donor, a donor stands in two strata, or there are fewer donors than folds.

    Examples
    --------
    >>> folds = donor_folds(["a", "b", "a", "c"], 3, seed=0)
    >>> sorted(donor for split in folds for donor in split.test_donors)
    ['a', 'b', 'c']
    """
    names = _names(donors, "donor")
    unique = sorted(set(names))
    if not 2 <= n_splits <= len(unique):
        msg = (
            f"{n_splits} folds were asked of {len(unique)} donors; give from 2 to as many folds as donors"
            f"{'' if len(unique) > 1 else ', and cells of at least two donors'}."
        )
        raise InputError(msg)
    stratum_of = _stratum_of(names, strata)
    shuffled = [unique[i] for i in stream(seed, "donor folds").permutation(len(unique))]
    dealt = sorted(shuffled, key=lambda donor: stratum_of[donor])
    return [_split(f"fold{k}", names, dealt[k::n_splits]) for k in range(n_splits)]


def leave_one_donor_out(donors: ArrayLike) -> list[Split]:
    """Make one split per donor, which is tested alone.

    Parameters
    ----------
    donors
        Donor name of each row.

    Returns
    -------
    list of Split
        In order of the donors' names; ``id`` is ``"without <donor>"``.

    Raises
    ------
    InputError
        A row has no donor, or there is only one donor.

    Examples
    --------
    >>> [split.test_donors for split in leave_one_donor_out(["a", "b", "a"])]
    [('a',), ('b',)]
    """
    names = _names(donors, "donor")
    unique = sorted(set(names))
    if len(unique) < 2:
        msg = f"Leaving one donor out needs at least two donors; the rows come from {unique}."
        raise InputError(msg)
    return [_split(f"without {donor}", names, [donor]) for donor in unique]


def _names(values: ArrayLike, what: str) -> list[str]:
    items = np.asarray(values, dtype=object)
    if items.ndim != 1:
        msg = f"One {what} per row is expected, but an array of shape {items.shape} was given."
        raise InputError(msg)
    missing = sum(1 for item in items if item is None or item != item or item == "")
    if missing:
        msg = f"{missing} of {len(items)} rows have no {what}; name it, or leave these rows out."
        raise InputError(msg)
    return [str(item) for item in items]


def _stratum_of(names: Sequence[str], strata: ArrayLike | None) -> dict[str, str]:
    if strata is None:
        return dict.fromkeys(names, "")
    groups = _names(strata, "stratum")
    if len(groups) != len(names):
        msg = f"There are {len(names)} donors but {len(groups)} strata; give one of each per row."
        raise InputError(msg)
    stratum_of: dict[str, str] = {}
    for donor, group in zip(names, groups, strict=True):
        if stratum_of.setdefault(donor, group) != group:
            msg = f"Donor {donor!r} stands in the strata {stratum_of[donor]!r} and {group!r}; give it one."
            raise InputError(msg)
    return stratum_of


def _split(name: str, names: Sequence[str], tested: Sequence[str]) -> Split:
    is_test = np.isin(np.asarray(names, dtype=object).astype(str), list(tested))
    return Split(
        id=name,
        train_donors=tuple(sorted(set(names) - set(tested))),
        test_donors=tuple(sorted(tested)),
        train=np.flatnonzero(~is_test),
        test=np.flatnonzero(is_test),
    )
