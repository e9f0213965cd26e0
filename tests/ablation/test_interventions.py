"""Hooks of interventions: what they change, what they leave, and that they compose."""

import numpy as np
import pytest
import torch

from interp.ablation import Mean, ProjectOut, ReplaceHeads, ReplaceSite, Resample, Steer, Zero, random_directions
from interp.errors import InputError

Z = [f"blocks.{layer}.attn.hook_z" for layer in range(4)]
RESID, MLP = "blocks.1.hook_resid_post", "blocks.2.hook_mlp_out"


def run(model, tokens, names, hooks=()):
    """Activations by name, with hooks."""
    seen = {}

    def keep(x, hook):
        seen[hook.name] = x.clone()

    with model.hooks([*hooks, *((name, keep) for name in names)]):
        model(tokens)
    assert not model.list_hooks()
    return seen


def test_only_the_named_heads_become_the_replacement(model, tokens, replacement):
    heads = ((1, 0), (1, 2), (3, 1))
    before = run(model, tokens, Z)
    after = run(model, tokens, Z, ReplaceHeads(heads, replacement).hooks(model, tokens))
    values = replacement.values(model, tokens, Z)
    for name, replaced in ((Z[1], [0, 2]), (Z[3], [1])):
        value = values[name].expand_as(after[name])
        assert torch.equal(after[name][:, :, replaced], value[:, :, replaced])
    assert torch.equal(after[Z[0]], before[Z[0]])
    assert torch.equal(after[Z[1]][:, :, 1], before[Z[1]][:, :, 1])
    assert not torch.equal(after[Z[2]], before[Z[2]])


@pytest.mark.parametrize("name", [MLP, RESID, "blocks.0.hook_attn_out", "hook_tokens"])
def test_a_whole_site_becomes_the_replacement(model, tokens, labels, name):
    of = {
        "zero": Zero(),
        "mean": Mean.of(model, tokens, labels["cell_type"], sites=[name]),
        "resample": Resample.of(model, tokens, donors=labels["donor"]),
    }
    plain = run(model, tokens, [name, "hook_cell"])
    for kind, replacement in of.items():
        seen = run(model, tokens, [name, "hook_cell"], ReplaceSite(name, replacement).hooks(model, tokens))
        expected = replacement.values(model, tokens, [name])[name]
        assert torch.equal(seen[name], expected.expand_as(seen[name])), kind
        assert not torch.equal(seen["hook_cell"], plain["hook_cell"]), kind


def test_interventions_compose(model, tokens, labels):
    direction = np.random.default_rng(0).standard_normal(24)
    parts = [
        ReplaceHeads(((0, 1),), Mean.of(model, tokens)),
        ReplaceHeads(((0, 2), (2, 0)), Zero()),
        ReplaceSite(MLP, Resample.of(model, tokens, donors=labels["donor"])),
        ProjectOut(RESID, direction),
    ]
    hooks = [hook for part in parts for hook in part.hooks(model, tokens)]
    seen = run(model, tokens, [*Z, MLP, RESID], hooks)
    assert torch.equal(seen[Z[0]][:, :, 1], Mean.of(model, tokens).values(model, tokens, Z)[Z[0]][:, :, 1])
    assert not seen[Z[0]][:, :, 2].any()
    assert not seen[Z[2]][:, :, 0].any()
    assert torch.equal(seen[MLP], parts[2].replacement.values(model, tokens, [MLP])[MLP])
    assert float((seen[RESID] @ torch.from_numpy(direction).float()).abs().max()) < 1e-4
    both = ReplaceHeads(((0, 2), (2, 0), (0, 1)), Zero())
    split = [ReplaceHeads(((0, 1),), Zero()), ReplaceHeads(((0, 2), (2, 0)), Zero())]
    together = run(model, tokens, ["hook_cell"], both.hooks(model, tokens))
    apart = run(model, tokens, ["hook_cell"], [hook for part in split for hook in part.hooks(model, tokens)])
    assert torch.equal(together["hook_cell"], apart["hook_cell"])


def test_no_heads_change_nothing(model, tokens):
    assert ReplaceHeads((), Zero()).hooks(model, tokens) == []


def test_hooks_of_other_cells_are_told(model, tokens, labels):
    hooks = ReplaceHeads(((1, 0),), Mean.of(model, tokens)).hooks(model, tokens[:3])
    with pytest.raises(InputError, match=r"made for .* make the hooks from the tokens that are run"):
        run(model, tokens, [], hooks)
    assert not model.list_hooks()


@pytest.mark.parametrize("name", ["blocks.0.attn.hook_pattern", "hook_cell"])
def test_sites_without_rows_are_told(model, tokens, name):
    with pytest.raises(InputError, match="no row for every token"):
        ReplaceSite(name, Zero()).hooks(model, tokens)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_nothing_is_left_along_directions_that_were_projected_out(model, tokens, scale):
    rng = np.random.default_rng(3)
    directions = scale * rng.standard_normal((4, 24))
    directions[3] = directions[0] - 2 * directions[1]  # says nothing new
    plain = run(model, tokens, [RESID])[RESID]
    seen = run(model, tokens, [RESID], ProjectOut(RESID, directions).hooks(model))[RESID]
    units = torch.from_numpy(directions / np.linalg.norm(directions, axis=1, keepdims=True)).float()
    assert float((plain @ units.T).abs().max()) > 1
    assert float((seen @ units.T).abs().max()) < 1e-5 * float(plain.abs().max())
    away = np.linalg.svd(directions)[2][3:]  # what the directions do not span is as it was
    left = torch.from_numpy(away).float()
    torch.testing.assert_close(seen @ left.T, plain @ left.T, rtol=1e-5, atol=1e-5)


def test_a_direction_of_one_head_leaves_the_others(model, tokens):
    direction = np.random.default_rng(0).standard_normal(8)
    plain = run(model, tokens, [Z[2]])[Z[2]]
    seen = run(model, tokens, [Z[2]], ProjectOut(Z[2], direction, head=1).hooks(model))[Z[2]]
    assert torch.equal(seen[:, :, [0, 2]], plain[:, :, [0, 2]])
    assert float((seen[:, :, 1] @ torch.from_numpy(direction).float()).abs().max()) < 1e-5
    every = run(model, tokens, [Z[2]], ProjectOut(Z[2], direction).hooks(model))[Z[2]]
    assert float((every @ torch.from_numpy(direction).float()).abs().max()) < 1e-5


@pytest.mark.parametrize("size", [2.5, -0.75])
def test_steering_adds_the_given_length(model, tokens, size):
    direction = 40 * np.random.default_rng(0).standard_normal(24)
    plain = run(model, tokens, [RESID])[RESID]
    seen = run(model, tokens, [RESID], Steer(RESID, direction, size).hooks(model))[RESID]
    added = seen - plain
    torch.testing.assert_close(added.norm(dim=-1), torch.full(added.shape[:2], abs(size)), rtol=1e-5, atol=1e-5)
    along = added @ torch.from_numpy(direction / np.linalg.norm(direction)).float()
    torch.testing.assert_close(along, torch.full(added.shape[:2], size), rtol=1e-5, atol=1e-5)


def test_random_directions_have_the_length_of_what_they_control():
    like = np.array([[3.0, 4, 0, 0], [0, 0, 0.1, 0]])
    drawn = random_directions(like, 50, seed=1)
    assert drawn.shape == (50, 2, 4)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=2), np.tile([5, 0.1], (50, 1)))
    assert np.array_equal(drawn, random_directions(like, 50, seed=1))
    assert not np.allclose(drawn, random_directions(like, 50, seed=2))
    assert abs(drawn[:, 0].mean()) < 1  # no side is preferred
    assert random_directions(like[0], 3, seed=0).shape == (3, 4)


def test_random_directions_can_follow_the_spread_of_activations():
    rng = np.random.default_rng(0)
    rows = 7 + rng.standard_normal((400, 6)) * np.array([10, 1, 0.1, 0.1, 0.1, 0.1])
    like = np.eye(6)[2]
    share = [(random_directions(like, 300, seed=1, within=within)[:, 0] ** 2).mean() for within in (None, rows)]
    assert share[0] == pytest.approx(1 / 6, abs=0.05)
    assert share[1] > 0.8
    assert np.allclose(np.linalg.norm(random_directions(like, 9, seed=1, within=rows), axis=1), 1)


def test_directions_that_are_none_are_told(model, tokens):
    for bad in (np.zeros(24), np.full(24, np.nan), np.zeros((0, 24)), np.ones((1, 1, 24))):
        with pytest.raises(InputError, match="none of length 0"):
            ProjectOut(RESID, bad).hooks(model)
        with pytest.raises(InputError, match="none of length 0"):
            random_directions(bad, 3, seed=0)
    with pytest.raises(InputError, match="one direction, one size"):
        Steer(RESID, np.ones((2, 24)), 1.0).hooks(model)
    with pytest.raises(InputError, match="one direction, one size"):
        Steer(RESID, np.ones(24), float("inf")).hooks(model)
    with pytest.raises(InputError, match="names 4 hook points"):
        Steer("*.hook_mlp_out", np.ones(24), 1.0).hooks(model)
    with pytest.raises(InputError, match="directions of 7 features do not fit"):
        run(model, tokens, [], ProjectOut(RESID, np.ones(7)).hooks(model))
    for name, width, head in ((RESID, 24, 0), (Z[0], 8, 3)):
        with pytest.raises(InputError, match=f"has no head {head}"):
            run(model, tokens, [], Steer(name, np.ones(width), 1.0, head=head).hooks(model))
    with pytest.raises(InputError, match="rows that differ"):
        random_directions(np.ones(3), 2, seed=0, within=np.ones((5, 3)))
