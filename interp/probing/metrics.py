"""Scores of probes, one number per donor: classes weigh alike inside a donor, whatever their numbers of cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

# Higher is better in all of them, so the log loss stands with a minus, as scikit-learn's scorer of that name has it.
BALANCED, AUROC, LOG_LOSS = "balanced_accuracy", "auroc", "neg_log_loss"
SPEARMAN, R2 = "spearman", "r2"
# The first of each kind decides between heads.
CLASS_METRICS = (BALANCED, AUROC, LOG_LOSS)
NUMBER_METRICS = (SPEARMAN, R2)


class DonorClasses:
    """Test cells by donor and class.

    Parameters
    ----------
    labels
        Class of each test cell, (cell,).
    donors
        Number of each test cell's donor, (cell,).
    n_donors, n_classes
        How many there are in all.
    trained
        Classes that the probe knows, bool (class,); cells of others are not scored.
    """

    def __init__(
        self, labels: NDArray, donors: NDArray, n_donors: int, n_classes: int, trained: NDArray[np.bool_]
    ) -> None:
        self.labels, self.donors = np.asarray(labels, np.int64), np.asarray(donors, np.int64)
        self.known = trained[labels]
        group = (donors * n_classes + labels)[self.known]
        self.sizes = np.bincount(group, minlength=n_donors * n_classes).reshape(n_donors, n_classes)

    def loss(self, logits: NDArray) -> NDArray[np.float64]:
        """Log loss in nats of logits (cell, class), (donor,)."""
        from interp.probing.metrics_kernel import donor_losses

        return self._of(donor_losses, logits)

    def metrics(self, logits: NDArray) -> dict[str, NDArray[np.float64]]:
        """Every metric of logits (cell, class), each (donor,); NaN for a donor with fewer than two known classes."""
        from interp.probing.metrics_kernel import donor_areas, donor_recalls

        areas, recalls = self._of(donor_areas, logits), self._of(donor_recalls, logits)
        return {BALANCED: recalls, AUROC: areas, LOG_LOSS: -self.loss(logits)}

    def _of(self, kernel: Callable[..., None], logits: NDArray) -> NDArray[np.float64]:
        found = np.empty(len(self.sizes))
        kernel(np.ascontiguousarray(logits), self.labels, self.donors, self.known, self.sizes, found)
        return found


class DonorNumbers:
    """Test cells by donor, with a number to predict.

    Parameters
    ----------
    values
        Number of each test cell, (cell,).
    donors
        Number of each test cell's donor, (cell,).
    n_donors
        How many there are in all.
    """

    def __init__(self, values: NDArray, donors: NDArray, n_donors: int) -> None:
        self.values, self.n_donors = values, n_donors
        self.cells = {int(donor): np.flatnonzero(donors == donor) for donor in np.unique(donors)}

    def loss(self, predicted: NDArray) -> NDArray[np.float64]:
        """Mean squared error of predictions (..., cell), (..., donor)."""
        found = np.full((*predicted.shape[:-1], self.n_donors), np.nan)
        for donor, cells in self.cells.items():
            found[..., donor] = ((predicted[..., cells] - self.values[cells]) ** 2).mean(axis=-1)
        return found

    def metrics(self, predicted: NDArray) -> dict[str, NDArray[np.float64]]:
        """Spearman correlation and R2 against the donor's own mean of predictions (cell,), each (donor,).

        A constant prediction orders nothing and has a correlation of 0; a donor with one value only gets NaN.
        """
        found = {name: np.full(self.n_donors, np.nan) for name in NUMBER_METRICS}
        for donor, cells in self.cells.items():
            p, y = predicted[cells], self.values[cells]
            total = np.mean((y - y.mean()) ** 2)
            if np.ptp(y) > 0:
                found[SPEARMAN][donor] = _spearman(p, y)
                found[R2][donor] = 1 - np.mean((p - y) ** 2) / total
        return found


def _spearman(p: NDArray, y: NDArray) -> float:
    from scipy.stats import rankdata

    a, b = rankdata(p), rankdata(y)
    a, b = a - a.mean(), b - b.mean()
    length = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / length) if length > 0 else 0.0
