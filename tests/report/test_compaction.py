import pandas as pd
import pytest

from interp.evidence.factor_tables import FactorTables
from interp.report.compaction import chain_words, factor_words


def chain():
    steps = pd.DataFrame(
        {
            "step": ["top head", "rank 8", "folded map"],
            "endpoint": "order",
            "size_bytes": [5_770_000, 90_000, 58_000],
            "chain_bytes": [5_808_000, 124_800, 48_040],
            "latent_difference": [float("nan"), float("nan"), 3e-8],
        }
    )
    losses = pd.DataFrame(
        {
            "step": ["rank 8", "rank 8", "folded map"],
            "endpoint": ["order", "branch", "order"],
            "loss": [0.125, 0.01, 0.0],
            "status": ["lost", "undecided", "the same"],
        }
    )
    return steps, losses


def test_folding_is_said_to_be_the_same_latents_in_47_kb():
    words = " ".join(chain_words(*chain()))
    assert "same latents" in words
    assert "3e-08" in words
    assert "47 KB of numbers" in words
    assert "122 KB at least (rank 8)" in words
    assert "serve reading, not size" in words
    assert "rank 8 (88 KB): 1 of 2 endpoints lost against the top head (order by 0.125)." in words


def test_without_a_folded_map_nothing_is_said():
    steps, losses = chain()
    assert chain_words(steps.iloc[:0], losses) == []
    assert chain_words(steps[steps["step"] != "folded map"], losses) == []


@pytest.mark.parametrize("measure", ["negative as zero", "absolute"])
def test_shares_stand_beside_random_bases(measure):
    concentration = pd.DataFrame(
        {
            "endpoint": ["mean over endpoints", "order"], "measure": measure, "n_top": 4, "observed": [0.66, 0.5],
            "rotated_mean": [0.27, 0.2], "p": [0.048, 0.5], "even": 0.0625,
        }
    )  # fmt: skip
    core = pd.DataFrame(
        {
            "n_top": [4, 4], "endpoint": ["order", "stage"], "full": [0.8, float("nan")], "value": [0.6, float("nan")],
            "random_mean": [0.4, float("nan")], "chosen_on": "donors of other splits",
        }
    )  # fmt: skip
    none = pd.DataFrame()
    words = " ".join(factor_words(FactorTables(none, concentration, none, core, none, none)))
    assert "top 4 carry 66.0% (random bases of the same operator 27.0%, p = 0.048; equal factors 6.2%)" in words
    assert "50.0%" not in words
    assert "chosen on donors of other splits: order 0.800 to 0.600 (random cores 0.400)." in words
