"""What z becomes: means by hand, and partners of other donors aligned by gene."""

import numpy as np
import pytest
import torch

from interp.ablation import Mean, Resample, Zero
from interp.ablation.resample import align, aligned
from interp.capture import plan
from interp.errors import InputError

Z = [f"blocks.{layer}.attn.hook_z" for layer in range(4)]
MLP = "blocks.2.hook_mlp_out"


def activations(model, cell, name):
    """(token, ...) of one cell."""
    return model.run_with_cache(cell, names_filter=name)[1][name][0]


@pytest.mark.parametrize("room", [4096, 40])
@pytest.mark.parametrize("name", [Z[0], Z[3], MLP])
def test_the_mean_is_that_of_cls_rows_and_of_the_means_over_genes(model, tokens, name, room, monkeypatch):
    rows = [activations(model, tokens[[i]], name) for i in range(len(tokens))]
    monkeypatch.setitem(plan.BATCH_TOKENS, "cpu", room)
    mean = Mean.of(model, tokens, sites=[name])
    value = mean.values(model, tokens[2:4], [name])[name]
    assert value.shape == (2, *tokens[2:4].gene_ids.shape[1:], *rows[0].shape[1:])
    of_cls = torch.stack([row[0] for row in rows]).mean(0)
    of_genes = torch.stack([row[1:].mean(0) for row in rows]).mean(0)
    torch.testing.assert_close(value[:, 0], of_cls.expand(2, *of_cls.shape), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(value[:, 1:], of_genes.expand_as(value[:, 1:]), rtol=1e-5, atol=1e-6)


def test_with_groups_a_cell_gets_the_mean_of_its_own(model, tokens, labels):
    types = labels["cell_type"].to_numpy()
    grouped = Mean.of(model, tokens, types).values(model, tokens, Z)
    for kind in "TB":
        rows = np.flatnonzero(types == kind)
        alone = Mean.of(model, tokens[rows])
        for name in Z:
            expected = alone.values(model, tokens, [name])[name][rows]
            torch.testing.assert_close(grouped[name][rows], expected, rtol=1e-5, atol=1e-6)
    shuffled = np.random.default_rng(0).permutation(len(tokens))
    again = Mean.of(model, tokens, types).values(model, tokens[shuffled], Z)
    assert torch.equal(again[Z[1]], grouped[Z[1]][shuffled])


def test_means_that_cannot_be_taken_are_told(model, tokens, labels):
    with pytest.raises(InputError, match="mean of no cells"):
        Mean.of(model, tokens[[]])
    with pytest.raises(InputError, match="expected one label for each of 11 cells"):
        Mean.of(model, tokens, ["T", "B"])
    with pytest.raises(InputError, match="no label for 1 cells, such as 'cell3'"):
        Mean.of(model, tokens, labels["cell_type"].where(labels.index != 3))
    with pytest.raises(InputError, match="2 cells are named 'cell1'"):
        Mean.of(model, tokens[[1, 1]], ["T", "B"])
    with pytest.raises(InputError, match="no row for every token"):
        Mean.of(model, tokens, sites=["blocks.0.attn.hook_pattern"])
    with pytest.raises(InputError, match=r"there is no hook point 'blocks\.9\.attn\.hook_z'"):
        Mean.of(model, tokens, sites=["blocks.9.attn.hook_z"])
    with pytest.raises(InputError, match="is a pattern"):
        Mean.of(model, tokens, sites=["blocks.*.attn.hook_z"])
    bare = tokens[[0, 1]]
    bare.padding[0, 1:] = True
    with pytest.raises(InputError, match="no cell in the group 'a' expresses"):
        Mean.of(model, bare, ["a", "b"])


def test_a_mean_is_asked_only_for_what_it_knows(model, tokens, labels):
    with pytest.raises(InputError, match=r"no mean of blocks.2.hook_mlp_out; make it with Mean.of\(..., sites="):
        Mean.of(model, tokens).values(model, tokens, [MLP])
    part = Mean.of(model, tokens[:6], labels["cell_type"][:6])
    with pytest.raises(InputError, match="'cell6' is none of the 6 cells"):
        part.values(model, tokens[4:8], Z)
    assert Mean.of(model, tokens[:6]).values(model, tokens[4:8], Z)[Z[0]].shape[0] == 4  # without groups all may ask


def test_zero_is_zero(model, tokens):
    assert {float(value) for value in Zero().values(model, tokens, [*Z, MLP]).values()} == {0.0}


def partners(drawn, tokens):
    return np.array([drawn.partner_of[name] for name in tokens.cell_ids])


@pytest.mark.parametrize("same", [True, False])
def test_partners_are_of_another_donor_and_of_the_type_asked_for(model, tokens, labels, same):
    donors, types = labels["donor"].to_numpy(), labels["cell_type"].to_numpy()
    drawn = [
        partners(Resample.of(model, tokens, donors=donors, groups=types, same=same, seed=seed), tokens)
        for seed in range(20)
    ]
    for rows in drawn:
        assert (donors[rows] != donors).all()
        assert ((types[rows] == types) == same).all()
    assert len({tuple(rows) for rows in drawn}) > 10
    anyone = [partners(Resample.of(model, tokens, donors=donors, seed=seed), tokens) for seed in range(20)]
    assert all((donors[rows] != donors).all() for rows in anyone)
    assert {bool(same) for rows in anyone for same in types[rows] == types} == {True, False}


def test_every_other_donor_is_as_likely_whatever_its_number_of_cells(model, tokens):
    donors = np.array(["a"] + ["b"] * 9 + ["c"])
    drawn = [Resample.of(model, tokens, donors=donors, seed=seed).partner_of["cell0"] for seed in range(200)]
    share = np.mean(donors[drawn] == "c")
    assert 0.4 < share < 0.6  # 1 in 10 if cells were as likely
    assert len(set(drawn)) == 10


def test_partners_do_not_depend_on_the_order_of_the_cells(model, tokens, labels):
    order = np.random.default_rng(1).permutation(len(tokens))
    one = Resample.of(model, tokens, donors=labels["donor"], groups=labels["cell_type"], seed=5)
    shuffled = labels.iloc[order]
    other = Resample.of(model, tokens[order], donors=shuffled["donor"], groups=shuffled["cell_type"], seed=5)
    for name, row in one.partner_of.items():
        assert tokens.cell_ids[row] == tokens[order].cell_ids[other.partner_of[name]]


@pytest.mark.parametrize("room", [4096, 40])
@pytest.mark.parametrize("name", [Z[1], MLP])
def test_resampled_rows_are_the_partners_own_gene_by_gene(model, tokens, labels, name, room, monkeypatch):
    drawn = Resample.of(model, tokens, donors=labels["donor"], seed=2)
    monkeypatch.setitem(plan.BATCH_TOKENS, "cpu", room)
    batch = tokens[[4, 9, 0, 7]]
    found = drawn.values(model, batch, [name])[name]
    met = missed = 0
    for row, cell_id in enumerate(batch.cell_ids):
        partner = tokens[[drawn.partner_of[cell_id]]]
        theirs = activations(model, partner, name)
        place = {int(gene): i for i, gene in enumerate(partner.gene_ids[0])}
        for token in range(batch.lengths[row]):
            gene = int(batch.gene_ids[row, token])
            expected = theirs[place[gene]] if gene in place else theirs[1:].mean(0)
            met, missed = met + (gene in place), missed + (gene not in place)
            torch.testing.assert_close(found[row, token], expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(found[row, 0], theirs[0], rtol=1e-5, atol=1e-6)
    assert met > 10
    assert missed > 10


def test_alignment_by_hand():
    ids, partner = torch.tensor([[9, 4, 7, 5], [9, 5, 0, 0]]), torch.tensor([[9, 5, 4, 0], [9, 3, 5, 6]])
    x = torch.tensor([[1.0, 10, 20, -99], [2, 30, 50, 70]]).unsqueeze(-1)
    place, met = align(ids, partner)
    rows = aligned(x, place, met, partner == 0).squeeze(-1)
    assert rows[0].tolist() == [1, 20, 15, 10]  # 7 is missing: the mean of 10 and 20
    assert rows[1, :2].tolist() == [2, 50]


def test_a_partner_has_genes(model, tokens):
    bare = tokens[[0, 1, 2]]
    bare.padding[0, 1:] = True
    drawn = {Resample.of(model, bare, donors=["a", "a", "b"], seed=seed).partner_of["cell2"] for seed in range(20)}
    assert drawn == {1}


def test_partners_that_cannot_be_drawn_are_told(model, tokens, labels):
    one = ["a"] * len(tokens)
    with pytest.raises(InputError, match="are of one; give at least two"):
        Resample.of(model, tokens, donors=one)
    with pytest.raises(InputError, match="same=False asks for a partner of another group"):
        Resample.of(model, tokens, donors=labels["donor"], same=False)
    lonely = np.where(labels["donor"] == "a", "NK", "T")
    with pytest.raises(InputError, match="of the group 'NK' of the donor 'a' have no partner"):
        Resample.of(model, tokens, donors=labels["donor"], groups=lonely)
    with pytest.raises(InputError, match="no other donor has a cell with genes of another group"):
        Resample.of(model, tokens, donors=labels["donor"], groups=["T"] * len(tokens), same=False)
    drawn = Resample.of(model, tokens[:6], donors=labels["donor"][:6])
    with pytest.raises(InputError, match="'cell6' is none of the 6 cells"):
        drawn.values(model, tokens[5:7], Z)
