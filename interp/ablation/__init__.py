"""Interventions on heads, layers and directions, and what they change: exactly, and predicted by gradients."""

from interp.ablation.directions import ProjectOut, Steer, random_directions
from interp.ablation.exact import exact_readings
from interp.ablation.gradient import Objective, gradient_readings
from interp.ablation.head_sets import HeadSet
from interp.ablation.interventions import ReplaceHeads, ReplaceSite
from interp.ablation.readings import Read, Readings
from interp.ablation.replacements import Mean, Replacement, Zero
from interp.ablation.resample import Resample

__all__ = [
    "HeadSet",
    "Mean",
    "Objective",
    "ProjectOut",
    "Read",
    "Readings",
    "ReplaceHeads",
    "ReplaceSite",
    "Replacement",
    "Resample",
    "Steer",
    "Zero",
    "exact_readings",
    "gradient_readings",
    "random_directions",
]
