"""How names are listed in messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# Names shown in a message before the rest is only counted.
SHOWN = 8


def some(names: Iterable[object], shown: int = SHOWN) -> str:
    """List the first names and count the rest.

    Parameters
    ----------
    names
        Any things with a text.
    shown
        Most names listed.

    Returns
    -------
    str

    Examples
    --------
    >>> some("abcd", shown=2)
    'a, b and 2 more'
    """
    listed = [str(name) for name in names]
    return ", ".join(listed[:shown]) + (f" and {len(listed) - shown} more" if len(listed) > shown else "")
