"""The span of a set of anchors: standardised features written in as many coordinates as the anchors can tell apart.

A linear map fitted to anchors never leaves their span, so fitting in it loses nothing and is much smaller.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

# A feature is dropped when its sd is under this share of the median sd (design, adaptor numerics).
SD_SHARE = 1e-6
# An sd under this share of the largest is rounding error, and does not count for the median.
ROUNDING_SHARE = 1e-12
# A direction is dropped when its variance is under this share of the largest: there rounding of the Gram matrix rules.
RANK_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class SpanBasis:
    """Standardisation of features and an orthonormal basis of the standardised training rows.

    Attributes
    ----------
    mean
        Mean of every feature over the training rows, (feature,).
    kept
        Features that vary, bool (feature,).
    scale
        Standard deviation of the kept features, (kept,).
    standard
        The standardised training rows, (row, kept).
    train
        Coordinates of the training rows, centred, (row, rank).
    variance
        Variance of the training rows along each axis, (rank,). Their sum is the number of kept features.
    """

    mean: np.ndarray
    kept: np.ndarray
    scale: np.ndarray
    standard: np.ndarray = field(repr=False)
    train: np.ndarray = field(repr=False)
    variance: np.ndarray = field(repr=False)

    @property
    def n_rows(self) -> int:
        """Number of training rows."""
        return self.train.shape[0]

    @property
    def n_features(self) -> int:
        """Number of kept features."""
        return self.standard.shape[1]

    @property
    def rank(self) -> int:
        """Dimension of the span."""
        return self.train.shape[1]

    @cached_property
    def axes(self) -> np.ndarray:
        """Orthonormal columns, principal axes by falling variance, (kept, rank)."""
        return self.standard.T @ self._mix

    @cached_property
    def _mix(self) -> np.ndarray:
        """What makes the axes of the training rows, (row, rank); one look at a span needs no more."""
        return self.train / (self.n_rows * self.variance)

    @classmethod
    def from_features(cls, features: np.ndarray) -> SpanBasis:
        """Standardise training rows and find their span.

        Parameters
        ----------
        features
            Training rows, (row, feature), finite.

        Returns
        -------
        SpanBasis
            With ``rank`` at most ``min(row - 1, kept features)``.

        Raises
        ------
        InputError
            If the array is not two-dimensional and finite, has under 2 rows, or no feature varies.

        Examples
        --------
        >>> basis = SpanBasis.from_features(np.array([[0.0, 1.0, 5.0], [2.0, 1.0, 5.0], [4.0, 4.0, 5.0]]))
        >>> basis.rank, basis.n_features
        (2, 2)
        """
        features = as_rows(features)
        if features.shape[0] < 2:
            msg = f"A span needs at least 2 training rows; {features.shape[0]} given."
            raise InputError(msg)
        mean = features.mean(axis=0)
        centred = features - mean
        sd = np.sqrt(np.einsum("ij,ij->j", centred, centred) / len(features))
        kept = _varying(sd)
        standard = _columns(centred, kept) / sd[kept]
        train, variance = _principal_coords(standard)
        return cls(mean=mean, kept=kept, scale=sd[kept], standard=standard, train=train, variance=variance)

    def coords(self, features: np.ndarray) -> np.ndarray:
        """Coordinates in the span of any rows with the same features.

        Parameters
        ----------
        features
            Rows in the raw features, (row, feature).

        Returns
        -------
        numpy.ndarray
            Coordinates, (row, rank). What lies outside the span is projected away, as any map fitted here ignores it.

        Raises
        ------
        InputError
            If the number of features differs from the training rows'.
        """
        features = as_rows(features)
        if features.shape[1] != len(self.mean):
            msg = f"{features.shape[1]} features given, but the span was made from {len(self.mean)}."
            raise InputError(msg)
        standard = (_columns(features, self.kept) - self.mean[self.kept]) / self.scale
        return (standard @ self.standard.T) @ self._mix

    def to_features(self, coords: np.ndarray) -> np.ndarray:
        """Standardised features (row, kept) of rows given in span coordinates (row, rank)."""
        return (coords @ self._mix.T) @ self.standard


def as_rows(features: ArrayLike) -> np.ndarray:
    """Return features as a finite float64 (row, feature) array, or say what is wrong with them.

    Parameters
    ----------
    features
        Array-like of rows, (row, feature).

    Returns
    -------
    numpy.ndarray
        The same values, float64 (row, feature).

    Raises
    ------
    InputError
        If the array is not two-dimensional, or holds NaN or infinite values.
    """
    rows = np.asarray(features, dtype=np.float64)
    if rows.ndim != 2:
        msg = f"Features must be a (row, feature) array; an array of shape {rows.shape} was given."
        raise InputError(msg)
    if not np.isfinite(rows).all():
        bad = int((~np.isfinite(rows)).any(axis=1).sum())
        msg = f"{bad} of {len(rows)} rows hold NaN or infinite features; remove or fill them first."
        raise InputError(msg)
    return rows


def _columns(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
    return values if kept.all() else values[:, kept]


def _varying(sd: np.ndarray) -> np.ndarray:
    largest = sd.max(initial=0.0)
    moving = sd[sd > ROUNDING_SHARE * largest]
    if len(moving) == 0:
        msg = f"None of the {len(sd)} features varies between the training rows; there is nothing to fit."
        raise InputError(msg)
    return sd > max(SD_SHARE * float(np.median(moving)), ROUNDING_SHARE * largest)


def _principal_coords(standard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (row, rank) of centred rows along their principal axes, signs fixed, and variances (rank,)."""
    n_rows, n_features = standard.shape
    wide = n_rows <= n_features
    values, vectors = np.linalg.eigh(standard @ standard.T if wide else standard.T @ standard)
    values, vectors = values[::-1], vectors[:, ::-1]
    rank = int((values > RANK_TOLERANCE * values[0]).sum())
    values, vectors = values[:rank], vectors[:, :rank]
    # The eigenvectors' signs are arbitrary; fixing them keeps random starts comparable, unless two entries tie.
    largest = np.abs(vectors).argmax(axis=0)
    vectors = vectors * np.where(vectors[largest, np.arange(rank)] < 0, -1.0, 1.0)
    return vectors * np.sqrt(values) if wide else standard @ vectors, values / n_rows
