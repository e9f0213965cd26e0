import numpy as np
import pytest

from interp.errors import InputError
from interp.extraction.span import SpanBasis


@pytest.fixture(params=[(8, 30), (30, 8)], ids=["more features than rows", "more rows than features"])
def features(request):
    rng = np.random.default_rng(3)
    return rng.standard_normal(request.param) * rng.uniform(0.1, 9, request.param[1]) + rng.normal(
        0, 5, request.param[1]
    )


def test_coordinates_are_an_isometry_of_the_standardised_rows(features):
    basis = SpanBasis.from_features(features)
    standard = (features - features.mean(0)) / features.std(0)
    np.testing.assert_allclose(basis.train @ basis.axes.T, standard, atol=1e-10)
    np.testing.assert_allclose(basis.axes.T @ basis.axes, np.eye(basis.rank), atol=1e-8)
    assert basis.rank == min(len(features) - 1, features.shape[1])


def test_axes_are_principal(features):
    basis = SpanBasis.from_features(features)
    np.testing.assert_allclose(basis.train.T @ basis.train / len(features), np.diag(basis.variance), atol=1e-10)
    assert (np.diff(basis.variance) <= 0).all()
    assert basis.variance.sum() == pytest.approx(basis.n_features)


def test_coords_of_the_training_rows_are_the_training_coordinates(features):
    basis = SpanBasis.from_features(features)
    np.testing.assert_allclose(basis.coords(features), basis.train, atol=1e-9)


def test_constant_and_nearly_constant_features_are_dropped():
    features = np.random.default_rng(0).standard_normal((6, 5))
    features[:, 1] = 7.3
    features[:, 3] *= 1e-8
    basis = SpanBasis.from_features(features)
    assert basis.kept.tolist() == [True, False, True, False, True]
    changed = features.copy()
    changed[:, [1, 3]] = 99
    np.testing.assert_array_equal(basis.coords(changed), basis.coords(features))


def test_mostly_constant_features_do_not_decide_what_is_small():
    features = np.full((6, 9), 0.1)  # 0.1 is not a binary fraction: the mean of six may differ by rounding
    features[:, :3] = np.random.default_rng(0).standard_normal((6, 3))
    assert SpanBasis.from_features(features).kept.tolist() == [True] * 3 + [False] * 6


def test_repeated_rows_and_features_lower_the_rank():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((5, 20))
    assert SpanBasis.from_features(np.vstack([features, features])).rank == 4
    assert SpanBasis.from_features(rng.standard_normal((9, 1)) @ np.ones((1, 20))).rank == 1


@pytest.mark.parametrize(
    ("features", "says"),
    [
        (np.zeros((1, 3)), "at least 2"),
        (np.ones((4, 3)), "None of the 3 features varies"),
        (np.zeros(3), "shape"),
        (np.array([[1.0, np.nan], [2.0, 3.0]]), "1 of 2 rows"),
    ],
)
def test_unusable_features_are_refused(features, says):
    with pytest.raises(InputError, match=says):
        SpanBasis.from_features(features)


def test_another_number_of_features_is_refused():
    basis = SpanBasis.from_features(np.eye(4))
    with pytest.raises(InputError, match="5 features given, but the span was made from 4"):
        basis.coords(np.zeros((2, 5)))
