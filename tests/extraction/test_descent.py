import numpy as np
import pytest
from scipy.optimize import minimize, rosen, rosen_der

from interp.extraction.descent import Descent


def rosenbrock(x):
    return float(rosen(x)), rosen_der(x)


SCALE = np.logspace(-2, 3, 100)


def valley(x):
    """So narrow that hundreds of steps lower it a little."""
    return float(x @ (SCALE * x)) / 2 + 1.0, SCALE * x


def test_it_finds_what_scipy_finds():
    start = np.linspace(0.2, 1.5, 8)
    found = Descent(rosenbrock, start, np.ones(8)).run(500)
    reference = minimize(rosen, start, jac=rosen_der, method="BFGS")
    assert found.converged
    np.testing.assert_allclose(found.end, reference.x, atol=1e-4)
    assert found.losses[-1] == pytest.approx(rosen(found.end))


def test_the_loss_falls_at_every_step_and_the_rule_stops_it():
    found = Descent(valley, np.ones(100), np.ones(100)).run(5000)
    losses = np.array(found.losses)
    assert found.converged
    assert (np.diff(losses) < 0).all()
    fall = losses[:-50] - losses[50:]
    assert fall[-1] < 1e-6 * losses[-1]
    assert (fall[:-1] >= 1e-6 * losses[50:-1]).all()


def test_the_cap_is_not_convergence():
    found = Descent(rosenbrock, np.zeros(4) - 1.0, np.ones(4)).run(7)
    assert (found.converged, len(found.losses)) == (False, 8)


def test_points_are_kept_as_they_stood():
    found = Descent(rosenbrock, np.zeros(4) - 1.0, np.ones(4), frozenset({0, 3, 10**6})).run(20)
    assert sorted(found.points) == [0, 3]
    for at, point in found.points.items():
        assert rosen(point) == found.losses[at]
    again = Descent(rosenbrock, np.zeros(4) - 1.0, np.ones(4)).run(3)
    assert np.array_equal(again.end, found.points[3])


def test_at_the_minimum_it_stands_still():
    found = Descent(rosenbrock, np.ones(4), np.ones(4)).run(5)
    assert found.converged
    assert len(found.losses) == 1


def test_a_good_metric_saves_steps():
    steps = [len(Descent(valley, np.ones(100), metric).run(500).losses) for metric in (np.ones(100), 1 / SCALE)]
    assert steps[1] < 0.3 * steps[0]
