"""Random streams that depend on a seed, a purpose and a cell, never on order, chunks or threads."""

import operator
from hashlib import blake2b
from typing import SupportsIndex
from zlib import crc32

import numpy as np

from interp.errors import InputError

CELL_HASH_BYTES = 8  # 64 bits: no two of a million cells are likely to meet


def stream(seed: SupportsIndex, purpose: str, cell_id: str | None = None) -> np.random.Generator:
    """Open the random stream of one purpose, or of one purpose and one cell.

    Parameters
    ----------
    seed
        Non-negative integer given by the user.
    purpose
        What the numbers are for, such as ``"tokens"``; different purposes are independent.
    cell_id
        Name of a cell, for draws that must not depend on the other cells.

    Returns
    -------
    numpy.random.Generator
        A fresh generator; equal arguments give equal draws on every machine.

    Raises
    ------
    InputError
        The seed is not a non-negative integer.

    Examples
    --------
    >>> bool(stream(0, "tokens", "cell 1").random() == stream(0, "tokens", "cell 1").random())
    True
    """
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if number < 0:
        msg = f"The seed is {seed!r}, but a non-negative integer is expected, such as 0."
        raise InputError(msg)
    entropy = [number, crc32(purpose.encode())]
    if cell_id is not None:
        entropy.append(int.from_bytes(blake2b(str(cell_id).encode(), digest_size=CELL_HASH_BYTES).digest(), "little"))
    return np.random.default_rng(np.random.SeedSequence(entropy))
