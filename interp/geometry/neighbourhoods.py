"""Whether neighbours in a low-dimensional space were neighbours before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def trustworthiness(high: NDArray, low: NDArray, *, k: int = 15) -> float:
    """Return how far the k nearest neighbours in the low space are among the nearest in the high space.

    Parameters
    ----------
    high
        Points in the original space, (point, feature).
    low
        The same points embedded, (point, latent).
    k
        Neighbours; fewer than half of the points (Venna & Kaski 2001).

    Returns
    -------
    float
        1 when no false neighbour enters, about 0.5 for a random embedding.

    Raises
    ------
    InputError
        `k` is not under half of the points, or the two do not have the same points.

    Examples
    --------
    >>> import numpy as np
    >>> line = np.arange(9.0)[:, None]
    >>> trustworthiness(line, 2 * line, k=2)
    1.0
    """
    from sklearn.manifold import trustworthiness as measure

    if len(high) != len(low):
        msg = f"{len(high)} points were given in the original space and {len(low)} in the embedding"
        raise InputError(msg)
    if not 1 <= k < len(high) / 2:
        msg = f"k = {k} neighbours of {len(high)} points; trustworthiness needs k under half of the points"
        raise InputError(msg)
    return float(measure(high, low, n_neighbors=k))
