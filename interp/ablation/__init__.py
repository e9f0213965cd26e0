"""Ablation: interventions on heads, layers and directions, what they change, and whether named heads are used."""

from interp.ablation.directions import ProjectOut, Steer, random_directions
from interp.ablation.exact import exact_readings
from interp.ablation.gradient import Objective, gradient_readings
from interp.ablation.head_sets import HeadSet
from interp.ablation.interventions import ReplaceHeads, ReplaceSite
from interp.ablation.null import HeadSetNull, head_set_null
from interp.ablation.prepare import prepare
from interp.ablation.readings import Read, Readings
from interp.ablation.redundancy import Redundancy, measure_redundancy
from interp.ablation.replacements import Mean, Replacement, Zero
from interp.ablation.resample import Resample
from interp.ablation.screen import AblationResult, ablate_heads, screen_heads
from interp.ablation.settings import AblationSettings
from interp.ablation.used import Used, judge_used

__all__ = [
    "AblationResult",
    "AblationSettings",
    "HeadSet",
    "HeadSetNull",
    "Mean",
    "Objective",
    "ProjectOut",
    "Read",
    "Readings",
    "Redundancy",
    "ReplaceHeads",
    "ReplaceSite",
    "Replacement",
    "Resample",
    "Steer",
    "Used",
    "Zero",
    "ablate_heads",
    "exact_readings",
    "gradient_readings",
    "head_set_null",
    "judge_used",
    "measure_redundancy",
    "prepare",
    "random_directions",
    "screen_heads",
]
