"""Which hook points a filter names; the one place where names of activations are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from interp.errors import InputError

# None (all), a name or a pattern with `*`, several of these, or a predicate on names.
NamesFilter = str | Sequence[str] | Callable[[str], bool] | None


def select_names(names: Sequence[str], names_filter: NamesFilter) -> list[str]:
    """Return the names that a filter selects, in the order of the names.

    Parameters
    ----------
    names
        All hook points of a model, as in ``model.hook_dict``.
    names_filter
        None for all; a name, in which ``*`` stands for any text; a list of such; or a predicate.

    Raises
    ------
    InputError
        A name or pattern selects nothing; the message names the nearest hook points. Or a predicate selects nothing.

    Examples
    --------
    >>> select_names(["hook_embed", "blocks.0.hook_resid_post", "blocks.1.hook_resid_post"], "*.hook_resid_post")
    ['blocks.0.hook_resid_post', 'blocks.1.hook_resid_post']
    """
    if names_filter is None:
        return list(names)
    if callable(names_filter):
        chosen = [name for name in names if names_filter(name)]
        if not chosen:
            msg = f"the names_filter selects none of the {len(names)} hook points, such as {', '.join(names[:3])}"
            raise InputError(msg)
        return chosen
    patterns = [names_filter] if isinstance(names_filter, str) else list(names_filter)
    selected: set[str] = set()
    for pattern in patterns:
        found = _matching(names, pattern)
        if not found:
            raise InputError(_unknown(names, pattern))
        selected.update(found)
    return [name for name in names if name in selected]


def nearest(name: str, names: Sequence[str]) -> str:
    """Return a question that suggests the names most like a given one; empty when none is."""
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else ""


def _matching(names: Sequence[str], pattern: str) -> list[str]:
    if "*" not in pattern:
        return [name for name in names if name == pattern]
    escaped = pattern.replace("[", "[[]").replace("?", "[?]")  # `*` is the only wildcard
    return [name for name in names if fnmatchcase(name, escaped)]


def _unknown(names: Sequence[str], pattern: str) -> str:
    return f"there is no hook point {pattern!r}; {nearest(pattern, names) or 'model.hook_dict lists all'}"
