"""Statistics with the donor as the unit: splits, exact tests, bootstrap, false discovery rate, power."""

from interp.stats.bootstrap import bootstrap_interval
from interp.stats.donor_tests import (
    PermutationP,
    SignFlip,
    benjamini_hochberg,
    permutation_p,
    sign_flip,
    smallest_sign_flip_p,
)
from interp.stats.floor import null_floor, tied_with_best
from interp.stats.power import detectable_effect, donors_needed, equivalence_interval, sign_flip_power
from interp.stats.splits import Split, donor_folds, leave_one_donor_out

__all__ = [
    "PermutationP",
    "SignFlip",
    "Split",
    "benjamini_hochberg",
    "bootstrap_interval",
    "detectable_effect",
    "donor_folds",
    "donors_needed",
    "equivalence_interval",
    "leave_one_donor_out",
    "null_floor",
    "permutation_p",
    "sign_flip",
    "sign_flip_power",
    "smallest_sign_flip_p",
    "tied_with_best",
]
