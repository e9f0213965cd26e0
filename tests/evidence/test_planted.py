"""Planted truth from features to verdict: who deserves the credit is known."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from interp.evidence import (
    CHOSEN,
    NO_OPERATOR,
    Arm,
    Candidates,
    donor_values,
    no_operator,
    null_arms,
    order_endpoint,
    randomised,
    verdict,
)  # fmt: skip
from interp.evidence.controls import GAUSSIAN
from interp.evidence.nulls import COHERENT, WITHIN_STUDIES
from interp.evidence.panel import Panel
from interp.evidence.verdict import NOT_READABLE, READABLE, SPECIFIC
from interp.extraction.operators import Operator
from interp.stats import donor_folds

DRAWS = 20


def judged(panel, features, matrix, solver):
    """Verdict on one operator against a Gaussian of its support and no operator, at the default settings."""
    genes = tuple(f"G{i}" for i in range(features.shape[1]))
    operator = Operator("L0H0.mean.out", "mean", "out", matrix, genes)
    candidates = Candidates(CHOSEN, lambda split: [operator], lambda split: features)
    sets = [candidates, no_operator(candidates)]
    sets += [randomised(candidates, GAUSSIAN, draw, seed=0) for draw in range(DRAWS)]
    arms = [Arm(c.name, lambda split, c=c: c.features(split, 0), draw=c.draw) for c in sets]
    arms += [arm for arm in null_arms(arms[0], panel, seed=0, n_coherent=DRAWS, n_other=1) if arm.name == COHERENT]
    table = donor_values(order_endpoint(panel, arms, solver))
    found = verdict(table, nulls=(COHERENT,), expected=(GAUSSIAN, NO_OPERATOR))
    return found["endpoints"]["order"]


@pytest.fixture(scope="module")
def noisy(planted):
    """So much noise outside the programs that finding them in training anchors alone is hard."""
    return planted(n_genes=400, noise=0.6, seed=2, n_folds=2)


def test_the_true_programs_are_model_specific(noisy, solver):
    panel, features, loadings = noisy
    found = judged(panel, features, loadings @ loadings.T, solver)
    assert found["readable"]["status"] == READABLE
    assert found["model_specific"]["status"] == SPECIFIC, found["model_specific"]["reason"]
    assert found["model_specific"]["effect"] > found["model_specific"]["floor"]


def test_an_operator_that_adds_nothing_is_not(noisy, solver):
    panel, features, _ = noisy
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(features.shape[1],) * 2))[0]
    found = judged(panel, features, rotation, solver)
    assert found["model_specific"]["status"] != SPECIFIC


STUDIES = {
    "first": ("HSC", "CMP", "GMP", "neutrophil"),
    "second": ("MEP", "erythroblast", "erythrocyte", "megakaryocyte"),
    "third": ("CLP", "pro-B", "pre-B", "naive B"),
}


def test_studies_that_hold_neighbouring_stages_are_no_order(graph, solver):
    """Stages without any order; only what sets their studies apart orders them."""
    rng = np.random.default_rng(0)
    programs = np.linalg.qr(rng.normal(size=(60, 15)))[0].T
    rows, features = [], []
    for number, (study, stages) in enumerate(STUDIES.items()):
        for donor in range(3):
            for stage in stages:
                rows.append((f"{study}-{donor}", "marrow", study, stage, stage, graph.branch(stage)))
                own = programs[sum(map(len, list(STUDIES.values())[:number])) + stages.index(stage)]
                features.append(2 * own + 2 * programs[12 + number] + 0.1 * rng.normal(size=60))
    obs = pd.DataFrame(rows, columns=["donor", "tissue", "study", "cell_type", "stage", "branch"])
    splits = donor_folds(obs["donor"], 3, 0, strata=obs["study"])
    panel = Panel.from_anchors(SimpleNamespace(obs=obs), graph, splits)
    values = np.array(features)
    arm = Arm(CHOSEN, lambda _: values)
    families = (COHERENT, WITHIN_STUDIES)
    arms = [a for a in null_arms(arm, panel, seed=0, n_coherent=DRAWS, n_other=1) if a.name in families]
    table = donor_values(order_endpoint(panel, [arm, *arms], solver))
    without = table[table["control"] != WITHIN_STUDIES]
    found = [
        verdict(rows, nulls=nulls, expected=())["endpoints"]["order"]["readable"]
        for rows, nulls in ((without, (COHERENT,)), (table, families))
    ]
    assert [each["status"] for each in found] == [READABLE, NOT_READABLE]
    assert WITHIN_STUDIES in found[1]["reason"]
