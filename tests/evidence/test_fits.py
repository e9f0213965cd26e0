import logging

import numpy as np
import pytest

from interp.evidence import fits as module
from interp.evidence.fits import BATCH, Solver, span_of
from interp.extraction.let import LetProblem
from interp.runs.workers import WORKERS


@pytest.fixture(scope="module")
def problems(planted):
    """More than a batch."""
    panel, features, _ = planted(n_donors=2, n_folds=2)
    spans = [span_of(features), span_of(features[:, ::2])]
    rows = np.arange(len(panel))
    return [LetProblem(spans[i % 2], panel.ruler(rows), alpha=0.1 + 0.01 * i) for i in range(BATCH + 3)]


def test_a_stream_keeps_order_and_company_over_batches(problems, solver):
    fits = list(solver.stream((problem, i) for i, problem in enumerate(problems)))
    assert [beside for _, beside in fits] == list(range(len(problems)))
    for fit, i in fits[:: len(fits) // 4]:
        assert (fit.weights == solver.fit([problems[i]])[0].weights).all()


@pytest.mark.parametrize("n_workers", [1, 2, 3])
def test_a_stream_gives_the_same_bits_with_any_number_of_workers(problems, solver, monkeypatch, n_workers):
    expected = [fit.weights for fit in solver.fit(problems)]
    monkeypatch.setenv(WORKERS, str(n_workers))
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "AHEAD", 1)
    found = [fit.weights for fit, _ in solver.stream((problem, None) for problem in problems)]
    assert len(found) == len(expected)
    assert all((a == b).all() for a, b in zip(found, expected, strict=True))


def test_an_error_in_the_making_of_problems_is_not_swallowed(problems, solver):
    def jobs():
        yield problems[0], 0
        msg = "the second cannot be made"
        raise ValueError(msg)

    with pytest.raises(ValueError, match="cannot be made"):
        list(solver.stream(jobs()))


def test_a_stream_may_be_left_early(problems, solver):
    stream = solver.stream((problem, i) for i, problem in enumerate(problems))
    _, beside = next(stream)
    stream.close()
    assert beside == 0
    assert next(stream, None) is None


def test_screening_does_not_warn_and_a_capped_fit_does(problems, caplog):
    with caplog.at_level(logging.WARNING):
        Solver().screening.fit(problems[:1])
        assert not caplog.records
        Solver(max_iter=2).fit(problems[:1])
        assert "cap" in caplog.text


def test_features_that_do_not_vary_have_no_span():
    assert span_of(np.ones((5, 3))) is None
    assert span_of(np.eye(5)).rank == 4
