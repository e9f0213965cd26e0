"""Exact ablation against one full forward pass with hooks for each set."""

from collections import Counter

import numpy as np
import pytest
import torch

from interp.ablation import Mean, ProjectOut, ReplaceHeads, Resample, Steer, Zero, exact_readings
from interp.capture import plan
from interp.errors import InputError
from interp.runs.workers import WORKERS

SETS = [
    (),
    ((0, 0),),
    ((0, 2),),
    ((1, 1),),
    ((2, 0),),
    ((3, 0),),
    ((3, 2),),
    ((1, 0), (1, 2)),
    ((0, 1), (2, 2)),
    ((2, 1), (3, 0), (3, 1)),
    ((1, 1), (0, 0), (3, 2), (2, 0)),
]


def reference(model, tokens, sets, replacement, read):
    """One full forward pass for each set and cell, by name (set, cell, ...)."""
    found = []
    for heads in sets:
        of_set = []
        for row in range(len(tokens)):
            cell = tokens[[row]]
            with model.hooks(ReplaceHeads(tuple(heads), replacement).hooks(model, cell)):
                resid = model(cell).resid
            of_set.append({name: value.numpy() for name, value in read(resid, cell).items()})
        found.append({name: np.concatenate([one[name] for one in of_set]) for name in of_set[0]})
    return {name: np.stack([one[name] for one in found]) for name in found[0]}


@pytest.fixture(scope="session")
def expected(model, tokens, replacement, read):
    return reference(model, tokens, SETS, replacement, read)


def close(a, b):
    return np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


@pytest.mark.parametrize(("batch_cells", "room"), [(None, 4096), (3, 4096), (None, 60), (None, 400)])
def test_it_equals_a_full_forward_pass_for_each_set(
    model, tokens, replacement, read, expected, batch_cells, room, monkeypatch
):
    """Whatever the batches, and however many sets are run one below the other (all, 1, or some)."""
    monkeypatch.setitem(plan.BATCH_TOKENS, "cpu", room)
    found = exact_readings(model, tokens, SETS, replacement, read, batch_cells=batch_cells)
    assert found.sets[-1] == ((0, 0), (1, 1), (2, 0), (3, 2))
    for name, values in found.ablated.items():
        assert values.shape == expected[name].shape
        assert close(values, expected[name])
        assert close(found.base[name], expected[name][0])
        assert all(not close(values[i], found.base[name]) for i in range(1, len(SETS)))


def test_the_base_is_the_model_itself_and_an_empty_set_the_base_to_the_last_bit(model, tokens, read):
    found = exact_readings(model, tokens, [(), ((1, 1),), []], Zero(), read)
    plain = read(model(tokens).resid, tokens)
    for name, values in found.base.items():
        assert np.array_equal(values, plain[name].numpy())
        assert found.ablated[name][0].tobytes() == found.ablated[name][2].tobytes() == values.tobytes()


def test_only_empty_sets_or_none_at_all_give_the_base(model, tokens, read):
    empty, none = (exact_readings(model, tokens, sets, Zero(), read) for sets in ([()], []))
    for name, values in empty.base.items():
        assert np.array_equal(values, none.base[name])
        assert np.array_equal(values, empty.ablated[name][0])
        assert none.ablated[name].shape == (0, *values.shape)


def test_live_hooks_act_on_the_base_and_on_every_set(model, tokens, read):
    rng = np.random.default_rng(0)
    others = [
        *Steer("blocks.1.hook_resid_pre", rng.standard_normal(24), 2.0).hooks(model),
        *ProjectOut("blocks.1.hook_attn_out", rng.standard_normal((3, 24))).hooks(model),
        *Steer("blocks.3.attn.hook_q", rng.standard_normal(8), 1.5).hooks(model),
    ]
    without = exact_readings(model, tokens, SETS, Zero(), read)
    with model.hooks(others):
        found = exact_readings(model, tokens, SETS, Zero(), read)
        expected = reference(model, tokens, SETS, Zero(), read)
    for name, values in found.ablated.items():
        assert close(values, expected[name])
        assert not close(values, without.ablated[name])
    assert not model.list_hooks()


def test_heads_that_were_replaced_before_count_with_each_set(model, tokens, labels, read):
    """Hooks that were made for the panel meet the right cells."""
    mean, drawn = Mean.of(model, tokens), Resample.of(model, tokens, donors=labels["donor"], seed=1)
    first = ReplaceHeads(((1, 2),), drawn).hooks(model, tokens)
    with model.hooks(first):
        found = exact_readings(model, tokens, [((2, 1),), ((0, 0), (3, 1))], mean, read)
        with pytest.raises(InputError, match="make all hooks before any is live"):
            exact_readings(model, tokens, [((2, 1),)], drawn, read)
        with pytest.raises(InputError, match="make the hooks from the tokens that are run"):
            exact_readings(model, tokens, [((2, 1),)], mean, read, batch_cells=4)
    for place, heads in enumerate(found.sets):
        with model.hooks([*first, *ReplaceHeads(heads, mean).hooks(model, tokens)]):
            expected = read(model(tokens).resid, tokens)
        for name, values in expected.items():
            assert close(found.ablated[name][place], values.numpy())


def test_layers_below_a_set_are_computed_once_for_all_sets(model, tokens, read):
    """Block calls: one pass for the base, and for each set the layers above its lowest."""
    calls = Counter()
    handles = [
        block.register_forward_hook(lambda *_, layer=layer: calls.update([layer]))
        for layer, block in enumerate(model.blocks)
    ]
    cell = tokens[[int(tokens.lengths.argmax())]]
    sets = [((2, 0),), ((3, 1),), ((1, 1), (3, 0))]
    exact_readings(model, cell, sets, Mean.of(model, tokens, sites=[f"blocks.{i}.attn.hook_z" for i in range(4)]), read)
    for handle in handles:
        handle.remove()
    means = 1  # Mean.of runs blocks, the last one up to z
    above_last = 0 if read.__name__ == "read_cls" else 2  # for `<cls>` alone the last block is never run as a whole
    assert calls == Counter({0: means + 1, 1: means + 1, 2: means + 1 + 1, 3: 1 + above_last})


def test_nothing_of_the_model_changes_and_no_hook_stays(model, tokens, replacement, read):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    exact_readings(model, tokens, SETS, replacement, read)

    def broken(resid, tokens):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        exact_readings(model, tokens, SETS, replacement, broken)
    assert not model.list_hooks()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_progress_counts_every_reading(model, tokens, read):
    heard = []
    exact_readings(model, tokens, SETS, Zero(), read, batch_cells=4, progress=heard.append)
    assert sum(heard) == len(SETS) * len(tokens)


@pytest.mark.parametrize(
    ("heads", "told"),
    [
        ([(4, 0)], "no head L4H0; this model has layers 0 to 3 and heads 0 to 2"),
        ([(0, 3)], "no head L0H3"),
        ([(-1, 0)], "no head L-1H0"),
        ([(1, 2), (0, 0), (1, 2)], "L1H2 stands twice"),
        ([(1.0, 2)], "is no head"),
        ([3], "is no head"),
        (["L1"], "is no head"),
    ],
)
def test_heads_that_are_none_are_told(model, tokens, heads, told, read):
    with pytest.raises(InputError, match=told):
        exact_readings(model, tokens, [(), heads], Zero(), read)
    with pytest.raises(InputError, match=told):
        ReplaceHeads(tuple(heads), Zero()).hooks(model, tokens)


def test_readers_that_do_not_fit_are_told(model, tokens, read):
    with pytest.raises(InputError, match="same names and axes"):
        exact_readings(model, tokens, [], Zero(), lambda resid, tokens: {"all": resid}, batch_cells=2)
    with pytest.raises(InputError, match="cells first"):
        exact_readings(model, tokens, [], Zero(), lambda resid, tokens: {"mean": resid.mean(0)})

    def greedy(resid, tokens):
        return {"genes": resid[:, 1]}

    greedy.rows = "genes"
    with pytest.raises(InputError, match="rows 'genes'"):
        exact_readings(model, tokens, [], Zero(), greedy)


def test_no_cells_no_room_and_a_model_in_training_mode_are_told(model, tokens, read):
    with pytest.raises(InputError, match="no cells"):
        exact_readings(model, tokens[[]], SETS, Zero(), read)
    with pytest.raises(InputError, match="batch_cells = 0"):
        exact_readings(model, tokens, SETS, Zero(), read, batch_cells=0)
    try:
        with pytest.raises(InputError, match="training mode"):
            exact_readings(model.train(), tokens, SETS, Zero(), read)
    finally:
        model.eval()


def test_batches_that_run_at_a_time_change_nothing(model, tokens, replacement, read, monkeypatch):
    heard = []
    options = {"batch_cells": 2, "progress": heard.append}
    monkeypatch.setenv(WORKERS, "1")
    alone = exact_readings(model, tokens, SETS, replacement, read, **options)
    monkeypatch.setenv(WORKERS, "3")
    shared = exact_readings(model, tokens, SETS, replacement, read, **options)
    for name, values in alone.ablated.items():
        np.testing.assert_allclose(shared.ablated[name], values, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(shared.ablated[name][0], shared.base[name])
    assert sum(heard) == 2 * len(SETS) * len(tokens)
    assert not any(point.has_hooks() for point in model.hook_dict.values())
