import json

import numpy as np
import pandas as pd
import pytest

from interp.errors import InputError
from interp.evidence import CHOSEN, ORDER, verdict
from interp.evidence.endpoints import STAGE
from interp.evidence.nulls import LOOK_UP
from interp.evidence.verdict import NOT_READABLE, NOT_SPECIFIC, READABLE, SPECIFIC, UNDECIDED

NULL, RANDOM, FIXED = "a null", "a random control", "a fixed control"


def table(arms, endpoint="order", n_donors=8, spread=0.02, seed=0):
    """Arms of one endpoint: name to (mean, draws); donors differ by a shift that all arms share, and a little noise."""
    rng = np.random.default_rng(seed)
    shift = 0.1 * rng.normal(size=n_donors)
    rows = []
    for name, (mean, draws) in arms.items():
        # the draws' own means spread evenly about the arm's
        offsets = np.linspace(-spread, spread, draws) if draws > 1 else [0.0]
        for draw, offset in enumerate(offsets):
            values = mean + offset + shift + 0.005 * rng.normal(size=n_donors)
            rows += [(endpoint, name, draw, f"d{d}", value) for d, value in enumerate(values)]
    return pd.DataFrame(rows, columns=["endpoint", "control", "draw", "donor", "value"])


def judge(arms, *, endpoint="order", **options):
    data = {k: options.pop(k) for k in ("n_donors", "spread", "seed") if k in options}
    found = verdict(table(arms, endpoint, **data), nulls=(NULL,), expected=(RANDOM,), **options)
    return found["endpoints"][endpoint]


def arms(null=0.1, random=0.2, fixed=0.2, chosen=0.6, null_draws=99, random_draws=99):
    return {CHOSEN: (chosen, 1), NULL: (null, null_draws), RANDOM: (random, random_draws), FIXED: (fixed, 1)}


@pytest.mark.parametrize(
    ("case", "options", "readable", "specific"),
    [
        ("above everything", {}, READABLE, SPECIFIC),
        ("a fixed control ties", {"fixed": 0.6}, READABLE, NOT_SPECIFIC),
        ("a random control ties", {"random": 0.6}, READABLE, NOT_SPECIFIC),
        ("a control is far better", {"fixed": 0.9}, READABLE, NOT_SPECIFIC),
        ("the null is as good", {"null": 0.6}, NOT_READABLE, SPECIFIC),
        ("significant but under the minimum", {"fixed": 0.55, "random": 0.5}, READABLE, SPECIFIC),
        ("quick runs of 20 draws can decide", {"random_draws": 20}, READABLE, SPECIFIC),
        ("too few draws can decide nothing", {"random_draws": 10}, READABLE, UNDECIDED),
        ("too few null draws", {"null_draws": 10}, UNDECIDED, SPECIFIC),
    ],
)
def test_rules(case, options, readable, specific):
    found = judge(arms(**options))
    assert (found["readable"]["status"], found["model_specific"]["status"]) == (readable, specific), case


def test_the_effect_must_exceed_the_null_to_null_floor():
    # one of the random draws' differences is wider than the effect against the fixed control
    found = judge(arms(fixed=0.5, random=0.2), spread=0.3)
    assert found["model_specific"]["floor"] > found["model_specific"]["effect"]
    assert found["model_specific"]["status"] != SPECIFIC


def test_four_donors_cannot_decide_and_five_can():
    few = judge(arms(), n_donors=4)
    assert few["readable"]["status"] == few["model_specific"]["status"] == UNDECIDED
    assert few["readable"]["smallest_p"] == pytest.approx(1 / 16)
    assert "0.062" in few["readable"]["reason"]
    enough = judge(arms(), n_donors=5)
    assert enough["readable"]["smallest_p"] == pytest.approx(1 / 32)
    assert enough["readable"]["status"] == READABLE


def test_a_tie_is_only_called_one_when_the_donors_suffice_to_tell():
    rng = np.random.default_rng(1)
    data = table(arms(fixed=0.58))
    data["value"] += np.where(data["control"] == CHOSEN, 0.4 * rng.normal(size=len(data)), 0.0)
    found = verdict(data, nulls=(NULL,), expected=())["endpoints"]["order"]["model_specific"]
    assert found["status"] == UNDECIDED
    assert found["detectable_effect"] > 0.1
    assert "donors" in found["reason"]


def test_p_of_an_endpoint_is_the_largest_and_q_corrects_over_endpoints():
    both = pd.concat([table(arms()), table(arms(fixed=0.6), "stage balanced accuracy", seed=1)])
    found = verdict(both, nulls=(NULL,), expected=())["endpoints"]
    order, stage = (found[name]["model_specific"] for name in ("order", "stage balanced accuracy"))
    p = max(entry["p"] for entry in order["against"].values())
    assert order["p"] == p == pytest.approx(max(1 / 100, 2**-8))
    assert order["q"] == pytest.approx(2 * p)
    assert stage["q"] == pytest.approx(stage["p"])
    assert next(iter(found)) == "order"


def test_a_claim_that_fails_only_the_correction_says_so_and_asks_for_draws():
    others = [table(arms(fixed=0.7), name, seed=k) for k, name in enumerate(("b", "c", "d"), 1)]
    options = {"nulls": (NULL,), "expected": ()}
    quick = verdict(pd.concat([table(arms(random_draws=20)), *others]), **options)["endpoints"]["order"]
    assert quick["model_specific"]["p"] == pytest.approx(1 / 21)
    assert quick["model_specific"]["q"] == pytest.approx(4 / 21)
    assert quick["model_specific"]["status"] == UNDECIDED
    assert "q = 0.19 over all endpoints, and 20 draws can reach no smaller p" in quick["model_specific"]["reason"]
    whole = verdict(pd.concat([table(arms(random_draws=99)), *others]), **options)["endpoints"]["order"]
    assert whole["model_specific"]["q"] == pytest.approx(4 / 100)
    assert whole["model_specific"]["status"] == SPECIFIC


def test_p_over_draws_is_strict_at_the_level():
    # 19 draws reach 1 / 20, which is not under 0.05; 20 reach 1 / 21, 99 reach 1 / 100
    for draws, smallest, status in ((19, 1 / 20, UNDECIDED), (20, 1 / 21, SPECIFIC), (99, 1 / 100, SPECIFIC)):
        found = judge(arms(random_draws=draws))["model_specific"]
        assert found["smallest_p"] == pytest.approx(smallest)
        assert found["status"] == status


@pytest.mark.parametrize(("n_as_good", "status"), [(0, SPECIFIC), (2, SPECIFIC), (5, UNDECIDED)])
def test_draws_at_least_as_good_count_against_the_claim(n_as_good, status):
    data = table(arms(random=0.3), spread=0.0)
    lucky = (data["control"] == RANDOM) & (data["draw"] < n_as_good)
    data.loc[lucky, "value"] += 0.5
    found = verdict(data, nulls=(NULL,), expected=())["endpoints"]["order"]["model_specific"]
    assert found["against"][RANDOM]["p_draws"] == pytest.approx((1 + n_as_good) / 100)
    assert found["against"][RANDOM]["p_donors"] < 0.05
    assert found["status"] == status


def test_an_effect_within_the_floor_says_so():
    found = judge(arms(fixed=0.5, random=0.2), spread=0.3)["model_specific"]
    assert found["p"] < 0.05
    assert found["status"] == UNDECIDED
    assert "within the null-to-null floor" in found["reason"]


def test_equivalence_needs_the_whole_interval_under_the_minimum():
    # ten donors, a mean difference of 0.06: the 90 % interval ends below 0.1 when donors agree and above when not
    steps = np.array([-1.0, 1.0] * 5)
    for spread, status in ((0.02, NOT_SPECIFIC), (0.09, UNDECIDED)):
        rows = [("order", CHOSEN, 0, f"d{i}", 0.5 + 0.06 + spread * step) for i, step in enumerate(steps)]
        rows += [("order", FIXED, 0, f"d{i}", 0.5) for i in range(10)]
        # a second control that nothing separates keeps the claim from being made
        rows += [("order", "other", 0, f"d{i}", 0.5 + 0.3 * step) for i, step in enumerate(np.roll(steps, 1))]
        data = pd.DataFrame(rows, columns=["endpoint", "control", "draw", "donor", "value"])
        found = verdict(data, nulls=(), expected=())["endpoints"]["order"]["model_specific"]
        half = 1.8331 * spread * np.sqrt(10 / 9) / np.sqrt(10)
        assert found["against"][FIXED]["equivalence_hi"] == pytest.approx(0.06 + half, abs=1e-4)
        assert found["status"] == status


def test_without_headroom_the_credit_is_undecided_and_reading_is_not():
    found = judge(arms(), headroom={"order": 0.01})
    assert found["readable"]["status"] == judge(arms())["readable"]["status"] == READABLE
    assert found["model_specific"]["status"] == UNDECIDED
    assert "no headroom" in found["model_specific"]["reason"]
    assert judge(arms(), headroom={"order": 0.5})["model_specific"]["status"] == SPECIFIC


def test_a_control_that_is_missing_forbids_the_claim_but_not_its_denial():
    data = table({name: value for name, value in arms().items() if name != RANDOM})
    found = verdict(data, nulls=(NULL,), expected=(RANDOM, FIXED))["endpoints"]["order"]["model_specific"]
    assert found["status"] == UNDECIDED
    assert found["missing"] == [RANDOM]
    tied = table({name: value for name, value in arms(fixed=0.6).items() if name != RANDOM})
    found = verdict(tied, nulls=(NULL,), expected=(RANDOM, FIXED))["endpoints"]["order"]["model_specific"]
    assert found["status"] == NOT_SPECIFIC


@pytest.mark.parametrize(("endpoint", "status"), [(STAGE, READABLE), (ORDER, NOT_READABLE)])
def test_a_code_for_the_label_is_a_ceiling_where_the_label_is_asked_for(endpoint, status):
    data = table({**arms(), LOOK_UP: (0.9, 99)}, endpoint)
    found = verdict(data, nulls=(NULL, LOOK_UP), expected=())["endpoints"][endpoint]
    assert found["readable"]["status"] == status
    assert (LOOK_UP in found["readable"]["against"]) == (endpoint == ORDER)
    if endpoint == STAGE:
        assert found["ceilings"][LOOK_UP] - found["value"] == pytest.approx(0.3, abs=0.02)


def test_donors_without_a_value_are_left_out_and_counted():
    data = table(arms())
    data.loc[(data["donor"] == "d0") & (data["control"] == CHOSEN), "value"] = np.nan
    data.loc[(data["donor"] == "d1") & (data["control"] == NULL) & (data["draw"] == 3), "value"] = np.nan
    found = verdict(data, nulls=(NULL,), expected=())["endpoints"]["order"]
    assert found["n_donors"] == 7
    assert found["donors_left_out"] == 1
    assert "d0" not in found["donors"]
    assert found["readable"]["status"] == READABLE


def test_an_endpoint_that_no_donor_has_is_undecided_and_json_holds_it():
    data = table(arms())
    data["value"] = np.nan
    found = verdict(data, nulls=(NULL,), expected=())
    assert found["endpoints"]["order"]["readable"]["reason"] == "not computable in any donor"
    assert found["endpoints"]["order"]["value"] is None
    json.dumps(found, allow_nan=False)
    json.dumps(verdict(table(arms()), nulls=(NULL,), expected=()), allow_nan=False)


@pytest.mark.parametrize("spoil", [lambda t: t.drop(columns="draw"), lambda t: t[t["control"] != CHOSEN]])
def test_a_table_that_cannot_be_judged_is_refused(spoil):
    with pytest.raises(InputError, match="table of controls"):
        verdict(spoil(table(arms())))


def test_the_same_table_gives_the_same_verdict_whatever_its_order():
    data = table(arms())
    shuffled = data.sample(frac=1.0, random_state=0)
    assert verdict(data, nulls=(NULL,)) == verdict(shuffled, nulls=(NULL,))
