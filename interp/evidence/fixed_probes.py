"""Fixed probes: adaptors and reference anchors fitted once, then asked about test donors by other latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.evidence.endpoints import SECONDARY, read_donors
from interp.evidence.fits import span_of
from interp.evidence.holdouts import PAIRS, leave_one_stage_out
from interp.evidence.order import ORDER
from interp.extraction.let import LetProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from interp.evidence.arms import Settings
    from interp.evidence.fits import Solver
    from interp.evidence.holdouts import HoldOut
    from interp.evidence.panel import FloatArray, IntArray, Panel
    from interp.extraction.let import LetFit
    from interp.stats import Split


@dataclass(frozen=True, eq=False)
class Probe:
    """One adaptor, what it was fitted on and what it is asked.

    Attributes
    ----------
    fit
        The adaptor.
    train
        Anchors that it was fitted on, (train,).
    asked
        Test donors' anchors, (asked,).
    refit
        The stage left out and the questions about it; None for the fit on all training anchors.
    """

    fit: LetFit
    train: IntArray
    asked: IntArray
    refit: HoldOut | None


Latents = Callable[[Probe], "FloatArray"]


@dataclass(frozen=True, eq=False)
class FixedProbes:
    """All adaptors that the endpoints of one split ask for.

    Attributes
    ----------
    panel, split
        The anchors and the donor split.
    probes
        One per left-out stage, and the fit on all training anchors last.
    """

    panel: Panel
    split: Split
    probes: tuple[Probe, ...]

    @classmethod
    def fit(cls, panel: Panel, split: Split, features: FloatArray, settings: Settings, solver: Solver) -> FixedProbes:
        """Fit every adaptor of a split.

        Parameters
        ----------
        panel, split
            The anchors and the donor split.
        features
            Of all anchors, (anchor, feature).
        settings
            Weights of the adaptor's loss.
        solver
            How adaptors are fitted.

        Returns
        -------
        FixedProbes
            Without the fits of which nothing can be asked, as in the endpoints themselves.
        """

        def jobs() -> Iterator[tuple[LetProblem, tuple[IntArray, IntArray, HoldOut | None]]]:
            whole = (panel.exact(panel.train(split)), panel.test(split), None)
            refits = [(refit.train, refit.asked, refit) for refit in leave_one_stage_out(panel, split)]
            for train, asked, refit in [*refits, whole]:
                span, ruler = span_of(features[train]), panel.ruler(train)
                if span is not None and ruler.any():
                    yield LetProblem(span, ruler, settings.alpha, settings.ridge), (train, asked, refit)

        return cls(panel, split, tuple(Probe(fit, *about) for fit, about in solver.stream(jobs())))

    def values(self, latents: Latents, trained: Latents | None = None) -> FloatArray:
        """Measure every endpoint in every test donor.

        Parameters
        ----------
        latents
            From a probe to the latents of the anchors it is asked about, (asked, latent).
        trained
            From a probe to the latents of its training anchors, (train, latent), which are what test anchors are
            compared with; the fit's own by default.

        Returns
        -------
        numpy.ndarray
            (endpoint, donor), in the order of `endpoint_names` and of the split's test donors; NaN where not
            computable.
        """
        names, donors = endpoint_names(self.panel), self.split.test_donors
        found: dict[tuple[str, str], list[float]] = {}
        for probe in self.probes:
            reference = probe.fit.from_coords(probe.fit.basis.train) if trained is None else trained(probe)
            for endpoint, donor, value in self._read(probe, reference, latents(probe)):
                found.setdefault((endpoint, donor), []).append(value)
        table = [[_mean(found.get((name, donor), [])) for donor in donors] for name in names]
        return np.array(table, dtype=np.float64).reshape(len(names), len(donors))

    def _read(self, probe: Probe, trained: FloatArray, asked: FloatArray) -> Iterator[tuple[str, str, float]]:
        if probe.refit is None:
            yield from read_donors(self.panel, self.split, self.panel.labels, trained, asked)
            return
        values = probe.refit.order(self.panel.labels, trained, asked)
        for donor, row in zip(probe.refit.donors, values.tolist(), strict=True):
            yield from ((name, donor, value) for name, value in zip(_order_names(), row, strict=True))


def endpoint_names(panel: Panel) -> tuple[str, ...]:
    """Name the endpoints of a panel; order within studies is one where there are several studies."""
    orders = _order_names()
    return (*(orders if len(set(panel.studies)) > 1 else orders[:1]), *SECONDARY)


def _order_names() -> tuple[str, ...]:
    return (ORDER, *(f"{ORDER}, {pairs}" for pairs in PAIRS[1:]))


def _mean(values: list[float]) -> float:
    known = [value for value in values if value == value]
    return float(np.mean(known)) if known else float("nan")
