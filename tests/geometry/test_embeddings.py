from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.manifold import Isomap

from interp.errors import InputError
from interp.geometry import diffusion_map, geodesic_mds, isomap, pca
from interp.geometry import embeddings as module

ALL = [pca, isomap, geodesic_mds, diffusion_map]


@pytest.fixture
def roll():
    rng = np.random.default_rng(0)
    turn = 1.5 * np.pi * (1 + 2 * rng.random(150))
    return np.column_stack([turn * np.cos(turn), 20 * rng.random(150), turn * np.sin(turn), 0.1 * rng.random(150)])


def aligned(found, expected):
    """The same axes, each in the direction of `found`."""
    return expected * np.sign((found * expected).sum(axis=0))


def readable_diffusion(points, n_dims, k):
    """The whole random walk, written out."""
    n = len(points)
    distances = cdist(points, points)
    nearest = np.sort(distances, axis=1)[:, k]
    joined = (distances <= nearest[:, None]) | (distances <= nearest[None, :])
    kernel = np.exp(-(distances**2) / np.outer(nearest, nearest)) * joined
    density = kernel.sum(axis=1)
    kernel /= np.outer(density, density)
    degree = kernel.sum(axis=1)
    values, vectors = np.linalg.eig(kernel / degree[:, None])
    order = np.argsort(-values.real)[: n_dims + 1]
    values, vectors = values.real[order], vectors.real[:, order]
    vectors /= np.sqrt((vectors**2 * (degree / degree.sum())[:, None]).sum(axis=0))
    assert np.ptp(vectors[:, 0]) < 1e-9
    assert n == len(vectors)
    return vectors[:, 1:] * values[1:]


@pytest.mark.parametrize("shape", [(60, 6), (6, 60)])
def test_principal_axes_are_scikit_learns(shape):
    points = np.random.default_rng(1).standard_normal(shape)
    found = pca(points, 4)
    np.testing.assert_allclose(found, aligned(found, PCA(4, svd_solver="full").fit_transform(points)), atol=1e-9)


@pytest.mark.parametrize("n_dims", [1, 3])
def test_isomap_is_scikit_learns(roll, n_dims):
    found = isomap(roll, n_dims, k=8)
    theirs = Isomap(n_neighbors=8, n_components=n_dims, eigen_solver="dense").fit_transform(roll)
    np.testing.assert_allclose(found, aligned(found, theirs), atol=1e-6)


def test_isomap_unrolls_a_spiral():
    turn = np.linspace(np.pi, 5 * np.pi, 200)
    spiral = np.column_stack([turn * np.cos(turn), turn * np.sin(turn)])
    assert abs(np.corrcoef(isomap(spiral, 1, k=4)[:, 0], turn**2)[0, 1]) > 0.99  # the way grows as the square
    assert abs(np.corrcoef(pca(spiral, 1)[:, 0], turn**2)[0, 1]) < 0.5


def test_scaling_fits_distances_better_than_isomap(roll):
    wanted = module._geodesics(roll, 8, "geodesic")

    def stress(places):
        return ((cdist(places, places) - wanted) ** 2).sum()

    found = geodesic_mds(roll, 2, k=8)
    assert stress(found) < stress(isomap(roll, 2, k=8))
    # no small move of a point helps
    rng = np.random.default_rng(2)
    for _ in range(20):
        assert stress(found + 1e-2 * rng.standard_normal(found.shape)) > stress(found) * (1 - 1e-4)


def test_the_diffusion_map_is_the_walk_written_out(roll):
    found = diffusion_map(roll, 3, k=8)
    np.testing.assert_allclose(found, aligned(found, readable_diffusion(roll, 3, 8)), atol=1e-9)


def test_the_sparse_diffusion_map_is_the_dense_one(roll, monkeypatch):
    dense = diffusion_map(roll, 3, k=8)
    monkeypatch.setattr(module, "DENSE_POINTS", 10)
    np.testing.assert_allclose(diffusion_map(roll, 3, k=8), dense, atol=1e-8)


@pytest.mark.parametrize("embed", ALL)
def test_signs_and_distances_know_nothing_of_the_order(roll, embed):
    order = np.random.default_rng(3).permutation(len(roll))
    found, again = embed(roll, 3), embed(roll[order], 3)
    assert found.shape == (150, 3)
    np.testing.assert_allclose(again, found[order], atol=1e-6 * np.abs(found).max())


@pytest.mark.parametrize("embed", ALL)
def test_the_largest_loading_of_every_axis_is_positive(roll, embed):
    loadings = embed(roll, 3).T @ (roll - roll.mean(axis=0))
    assert (loadings[np.arange(3), np.abs(loadings).argmax(axis=1)] > 0).all()


@pytest.mark.parametrize("embed", ALL)
def test_components_are_joined_and_stay_apart(embed):
    rng = np.random.default_rng(4)
    points = rng.standard_normal((90, 3)) + 200.0 * (np.arange(90) // 30)[:, None]
    options = {} if embed is pca else {"k": 5}
    first = embed(points, 2, **options)[:, 0]
    assert np.isfinite(first).all()
    lows, highs = ([f(first[i : i + 30]) for i in (0, 30, 60)] for f in (np.min, np.max))
    order = np.argsort(lows)
    assert all(highs[a] < lows[b] for a, b in pairwise(order))


@pytest.mark.parametrize("embed", ALL)
def test_coinciding_points_come_to_lie_together(embed):
    points = np.repeat(np.random.default_rng(5).standard_normal((25, 4)), 2, axis=0)
    found = embed(points, 2)
    np.testing.assert_allclose(found[::2], found[1::2], atol=1e-5 * np.abs(found).max())


def test_arcs_may_be_walked_along():
    points = np.random.default_rng(6).standard_normal((60, 4))
    lengths = np.random.default_rng(7).uniform(1, 9, (60, 1))
    np.testing.assert_allclose(
        np.abs(isomap(points, 2, metric="arc geodesic")),
        np.abs(isomap(points * lengths, 2, metric="arc geodesic")),
        atol=1e-6,
    )


@pytest.mark.parametrize("embed", ALL)
def test_what_cannot_be_embedded_is_an_error(embed):
    with pytest.raises(InputError, match=r"\(point, dimension\)"):
        embed(np.ones(5), 1)
    with pytest.raises(InputError, match="fewer than points"):
        embed(np.eye(3), 3)
    with pytest.raises(InputError, match="at least 1"):
        embed(np.eye(3), 0 if embed is not diffusion_map else -1)


def test_what_an_embedding_lacks_is_named(monkeypatch):
    with pytest.raises(InputError, match="no more than there are"):
        pca(np.eye(9)[:, :2], 3)
    with pytest.raises(InputError, match="'geodesic' or 'arc geodesic'"):
        isomap(np.eye(9), 2, metric="arc")
    monkeypatch.setattr(module, "MAX_POINTS", 8)
    with pytest.raises(InputError, match="Take a sample"):
        isomap(np.eye(9), 2)
