"""How heads are screened by ablation."""

from __future__ import annotations

from dataclasses import dataclass, field

from interp.probing.settings import ProbeSettings
from interp.scgpt.evaluate import MASK_SHARE

# Cells that are run: at 15 donors 40 each, which knows a donor's accuracy to within 0.08.
N_CELLS = 600
# Heads that the gradient screen checks exactly, and that are ablated together.
TOP = 8
# Sets of heads of the null (design, verdict: all, or 999).
N_SETS = 999


@dataclass(frozen=True)
class AblationSettings:
    """How heads are screened by ablation.

    Attributes
    ----------
    probes
        How readouts are trained, and the obs columns with cell type and study.
    mask_share
        Share of a cell's genes that is masked for the masked-value loss.
    max_tokens
        Longest cell, `<cls>` included; the model's limit when None.
    top
        Heads that the gradient screen checks exactly.
    steps
        Points between z and its replacement over which the gradient is integrated.
    """

    probes: ProbeSettings = field(default_factory=ProbeSettings)
    mask_share: float = MASK_SHARE
    max_tokens: int | None = None
    top: int = TOP
    steps: int = 1
