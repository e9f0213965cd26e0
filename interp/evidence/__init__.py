"""Evidence: gates, nulls, matched controls and the verdict, all through one fit, tuning, split and endpoint."""

from interp.evidence.adaptor_comparison import adaptor_comparison
from interp.evidence.adaptor_fits import CellSource
from interp.evidence.adaptors import AdaptorGrid, AdaptorTables, adaptor_table
from interp.evidence.arms import CHOSEN, Arm, Candidates, Settings
from interp.evidence.branches import branch_table
from interp.evidence.campaign import Campaign
from interp.evidence.controls import (
    COEXPRESSION,
    CONTROLS,
    COOCCURRENCE,
    HEAD_NULL,
    N_DRAWS,
    N_DRAWS_QUICK,
    UNTRAINED,
    coexpression,
    cooccurrence,
    gene_correlation,
    randomised,
)
from interp.evidence.controls import RANDOM as RANDOM_CONTROLS
from interp.evidence.endpoints import secondary_endpoints
from interp.evidence.fits import Solver
from interp.evidence.gates import frozen_gates, gates
from interp.evidence.headroom import TRUE_LOADINGS, oracle, true_loadings
from interp.evidence.holdouts import PAIRS
from interp.evidence.inputs import NO_OPERATOR, no_operator
from interp.evidence.negative import negative_control, negative_panel
from interp.evidence.nulls import FAMILIES, WITHIN_STUDIES, null_arms, null_families
from interp.evidence.order import ORDER, donor_values, order_endpoint
from interp.evidence.outside import read_cells_by_donor
from interp.evidence.panel import WHOLE, Labels, Panel
from interp.evidence.selection import NO_SCORES, Choice, arm_of, read_choices, screening_scores
from interp.evidence.sensitivity import ruler_sensitivity
from interp.evidence.table import controls_table
from interp.evidence.verdict import ALPHA, verdict

NULL_FAMILIES = (*FAMILIES, WITHIN_STUDIES)

__all__ = [
    "ALPHA",
    "CHOSEN",
    "COEXPRESSION",
    "CONTROLS",
    "COOCCURRENCE",
    "HEAD_NULL",
    "NO_OPERATOR",
    "NO_SCORES",
    "NULL_FAMILIES",
    "N_DRAWS",
    "N_DRAWS_QUICK",
    "ORDER",
    "PAIRS",
    "RANDOM_CONTROLS",
    "TRUE_LOADINGS",
    "UNTRAINED",
    "WHOLE",
    "AdaptorGrid",
    "AdaptorTables",
    "Arm",
    "Campaign",
    "Candidates",
    "CellSource",
    "Choice",
    "Labels",
    "Panel",
    "Settings",
    "Solver",
    "adaptor_comparison",
    "adaptor_table",
    "arm_of",
    "branch_table",
    "coexpression",
    "controls_table",
    "cooccurrence",
    "donor_values",
    "frozen_gates",
    "gates",
    "gene_correlation",
    "negative_control",
    "negative_panel",
    "no_operator",
    "null_arms",
    "null_families",
    "oracle",
    "order_endpoint",
    "randomised",
    "read_cells_by_donor",
    "read_choices",
    "ruler_sensitivity",
    "screening_scores",
    "secondary_endpoints",
    "true_loadings",
    "verdict",
]
