from itertools import combinations, pairwise

import numpy as np
import pytest

from interp.errors import InputError
from interp.figures import latent_manifold
from interp.figures.look import branch_colours, text_of
from interp.figures.manifold import principal_axes

from .conftest import anchors, outside, words

LINE = ("HSC", "MPP", "CMP", "GMP", "neutrophil")


def edges(ax, kind="edge"):
    return [text for text in ax.texts if text.get_gid() == kind]


def labels(ax):
    return {text.get_text(): text for text in ax.texts if text.get_gid() == "label"}


def test_axes_are_the_principal_ones_largest_loading_positive():
    rng = np.random.default_rng(0)
    plane = np.outer(np.linspace(-3, 3, 50), [0, -1, 0]) + np.outer(rng.normal(size=50) * 0.1, [1, 0, 0])
    xy, shares = principal_axes(plane, 2, directions=False)
    assert abs(np.corrcoef(xy[:, 0], plane[:, 1])[0, 1]) > 0.999
    assert np.corrcoef(xy[:, 0], plane[:, 1])[0, 1] > 0
    assert shares[0] > 0.99
    assert shares.sum() == pytest.approx(1)


def test_directions_ignore_the_length_of_a_latent(graph):
    latents, _ = anchors(graph, LINE, {"d": "s"})
    scaled = latents * np.arange(1, 6)[:, None]
    np.testing.assert_allclose(
        principal_axes(latents, 2, directions=True)[0], principal_axes(scaled, 2, directions=True)[0], atol=1e-12
    )


def test_the_tree_joins_centroids_along_its_edges(graph):
    latents, obs = anchors(graph, LINE, {"a": "s", "b": "s"})
    ax = latent_manifold(latents, obs, graph, directions=False)
    xy, _ = principal_axes(latents, 2, directions=False)
    centre = {stage: xy[(obs["stage"] == stage).to_numpy()].mean(axis=0) for stage in LINE}
    drawn = sorted((tuple(np.round(e.xyann, 9)), tuple(np.round(e.xy, 9))) for e in edges(ax))
    wanted = sorted((tuple(np.round(centre[a], 9)), tuple(np.round(centre[b], 9))) for a, b in pairwise(LINE))
    assert drawn == wanted
    assert set(labels(ax)) == set(LINE)


def test_absent_stages_are_passed_over_by_a_dashed_edge_and_the_note_says_so(graph):
    latents, obs = anchors(graph, ("HSC", "GMP"), {"a": "s"})
    ax = latent_manifold(latents, obs, graph)
    assert len(edges(ax, "edge, stages absent")) == 1
    assert not edges(ax)
    assert "dashed: stages between are absent" in text_of(ax, "note")


def test_stages_without_a_common_ancestor_in_the_panel_are_not_joined(graph):
    latents, obs = anchors(graph, ("NK", "naive B"), {"a": "s"})
    ax = latent_manifold(latents, obs, graph)
    assert not edges(ax)
    assert not edges(ax, "edge, stages absent")


def test_branches_keep_their_colour_whatever_the_panel_holds(graph):
    colours = branch_colours(graph)
    assert len(set(colours.values())) == len(graph.branches) == 7
    latents, obs = anchors(graph, ("NK", "naive B"), {"a": "s"})
    ax = latent_manifold(latents, obs, graph)
    used = {line.get_markerfacecolor() for line in ax.lines}
    assert {colours["NK and ILC"], colours["B and plasma"]} <= used
    assert "NK and ILC" in words(ax)


def test_donors_of_two_studies_differ_by_marker_and_each_has_its_look(graph):
    donors = {"a:1": "a", "a:2": "a", "b:1": "b"}
    ax = latent_manifold(*anchors(graph, LINE, donors), graph, colour="donor")
    looks = {(line.get_marker(), line.get_markerfacecolor()) for line in ax.lines if len(line.get_xdata()) == len(LINE)}
    assert len(looks) == 3
    assert len({marker for marker, _ in looks}) == 2
    assert all(donor in words(ax) for donor in donors)
    assert "3 donors, 2 studies" in text_of(ax, "note")


def test_many_donors_leave_the_legend_to_the_studies(graph):
    ax = latent_manifold(*anchors(graph, ("HSC",), {f"d{i}": "s" for i in range(40)}), graph, colour="donor")
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["s", "stage tree"]


def test_thirty_four_stages_are_all_named_inside_a_page(graph):
    ax = latent_manifold(*anchors(graph, graph.stages, {"a": "s", "b": "s"}), graph)
    assert set(labels(ax)) == set(graph.stages)
    assert outside(ax) == []
    boxes = {name: text.get_window_extent() for name, text in labels(ax).items()}
    overlapping = [
        pair for pair in combinations(boxes, 2) if boxes[pair[0]].padded(-2).overlaps(boxes[pair[1]].padded(-2))
    ]
    assert len(overlapping) <= 2


def test_one_anchor_coarse_labels_and_nan_are_drawn_or_counted(graph):
    latents, obs = anchors(graph, LINE, {"a": "s"})
    latents[0], obs.loc[1, "stage"] = np.nan, None
    ax = latent_manifold(latents, obs, graph)
    assert "1 anchor without finite latents left out" in text_of(ax, "note")
    assert "coarse label, no stage" in words(ax)
    assert "HSC" not in labels(ax)
    assert "1 anchor, 1 stage, 1 donor" in text_of(latent_manifold(latents[2:3], obs[2:3], graph), "note")
    assert "0 anchors" in text_of(latent_manifold(latents[:1], obs[:1], graph), "note")


def test_latents_that_do_not_fit_and_unknown_colours_are_refused(graph):
    latents, obs = anchors(graph, LINE, {"a": "s"})
    with pytest.raises(InputError, match="do not fit 4 anchors"):
        latent_manifold(latents, obs[1:], graph)
    with pytest.raises(InputError, match="'tissue' is not known"):
        latent_manifold(latents, obs, graph, colour="tissue")
    with pytest.raises(InputError, match="branch"):
        latent_manifold(latents, obs.drop(columns="branch"), graph)
