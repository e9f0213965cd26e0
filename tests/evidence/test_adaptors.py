"""Variants of the adaptor on small panels with cells behind every anchor."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from interp.errors import InputError
from interp.evidence import AdaptorGrid, Arm, CellSource, Settings, Solver, adaptor_comparison, adaptor_table
from interp.evidence.adaptor_fits import Entry, SplitFits
from interp.evidence.endpoints import SECONDARY
from interp.evidence.holdouts import inner_hold_outs, leave_one_stage_out
from interp.evidence.order import donor_values, order_endpoint
from interp.extraction.cell_problem import CellWeights
from interp.extraction.let import ALPHA, RIDGE
from interp.runs.workers import WORKERS

CELLS = 9
GRID = AdaptorGrid(
    anchor_latents=(2, 4),
    cell_latents=(4,),
    hybrid_latents=(4,),
    topologies=(0.5,),
    anchor_settings=(Settings(), Settings(1.0, 1.0)),
    ridges=(RIDGE,),
    cells_per_stage=30,
    refit_cells=12,
    checkpoints=(1, 5),
)
FEW = Solver(max_iter=40)


class Cells:
    """Cells around the anchors of a planted panel; remembers which it was asked for."""

    def __init__(self, panel, anchors, *, noise=0.5, seed=0):
        rng = np.random.default_rng(seed)
        self.of = np.repeat(np.arange(len(panel)), CELLS)
        self.values = anchors[self.of] + noise * rng.standard_normal((len(self.of), anchors.shape[1]))
        self.obs = panel.obs.iloc[self.of].reset_index(drop=True)
        self.obs.index = [f"cell{i}" for i in range(len(self.of))]
        self.asked = []
        self.source = CellSource(self.obs, self.features)

    def features(self, split, rows):
        self.asked.append((split.id, rows))
        return self.values[rows]

    def shuffled(self, seed):
        order = np.random.default_rng(seed).permutation(len(self.of))
        values = self.values[order]
        return CellSource(self.obs.iloc[order], lambda _, rows: values[rows])


@pytest.fixture(scope="module")
def world(planted):
    panel, anchors, _ = planted(n_genes=40, n_folds=2)
    return panel, anchors, Cells(panel, anchors)


@pytest.fixture(scope="module")
def tables(world):
    panel, anchors, cells = world
    return adaptor_table(panel, lambda _: anchors, cells.source, FEW, GRID)


def test_every_adaptor_is_measured_in_every_split(world, tables):
    panel, _, _ = world
    assert len(tables.table) == len(panel.splits) * 4
    assert tables.table["variant"].value_counts().to_dict() == {"anchor": 4, "cell": 2, "hybrid": 2}
    assert set(tables.values["endpoint"]) == {"order", *SECONDARY}
    assert not tables.values[["split", "variant", "n_latent", "topology", "endpoint", "donor"]].duplicated().any()
    for split in panel.splits:
        there = tables.values[tables.values["split"] == split.id]
        assert set(there["donor"]) == set(split.test_donors)
    anchors = tables.table[tables.table["variant"] == "anchor"]
    assert (anchors["n_rows"] == 24).all()
    assert (tables.table.drop(index=anchors.index)["n_rows"] == 8 * 3 * CELLS).all()


def test_planted_order_is_recovered_by_all_variants(tables):
    means = tables.values[tables.values["endpoint"] == "order"].groupby("variant")["value"].mean()
    assert (means > 0.7).all()


def test_the_choice_follows_the_inner_criterion_alone(tables):
    for _, rows in tables.table.groupby("split"):
        assert rows["chosen"].sum() == 1
        assert rows.loc[rows["chosen"], "inner"].item() == rows["inner"].max()
        for _, some in rows.groupby("variant"):
            assert some["chosen_of_variant"].sum() == 1
            assert some.loc[some["chosen_of_variant"], "inner"].item() == some["inner"].max()


def test_the_choice_does_not_look_at_test_donors(world, tables):
    """Their anchors and cells dealt out anew: what was measured changes, what was chosen does not."""
    panel, anchors, cells = world
    split = panel.splits[0]
    rng = np.random.default_rng(1)
    moved, values = anchors.copy(), cells.values.copy()
    test = panel.test(split)
    moved[test] = anchors[rng.permutation(test)]
    of_test = np.flatnonzero(np.isin(cells.of, test))
    values[of_test] = values[rng.permutation(of_test)]
    source = CellSource(cells.obs, lambda _, rows: values[rows])
    again = adaptor_table(replace(panel, splits=(split,)), lambda _: moved, source, FEW, GRID).table
    first = tables.table[tables.table["split"] == split.id].reset_index(drop=True)
    same = ["variant", "n_latent", "topology", "alpha", "ridge", "inner", "chosen", "training_loss"]
    pd.testing.assert_frame_equal(first[same], again[same])
    assert not np.allclose(first["order"], again["order"])


def test_refits_see_no_cell_of_a_donor_or_stage_that_is_held_out(world):
    panel, anchors, _ = world
    split = panel.splits[0]
    for hold_outs in (leave_one_stage_out(panel, split), inner_hold_outs(panel, split, 0)):
        for hold_out in hold_outs:
            cells = Cells(panel, anchors)
            fits = SplitFits(panel, split, anchors, cells.source, CellWeights(), FEW)
            fits.answers([hold_out], [(Entry("cell", 3), Settings())], per_stage=500)
            (_, rows), *more = cells.asked
            assert not more
            seen = cells.obs.iloc[rows]
            held_donors = set(panel.donors[hold_out.asked])
            assert held_donors.isdisjoint(seen["donor"])
            assert set(split.test_donors).isdisjoint(seen["donor"])
            assert {panel.labels.stages[s] for s in hold_out.stages}.isdisjoint(seen["stage"])
            assert set(zip(seen["donor"], seen["stage"], strict=True)) == {
                (panel.donors[i], panel.labels.stages[panel.classes[i]]) for i in hold_out.train
            }


def test_the_anchor_row_is_the_order_endpoint_of_the_same_settings(world, tables):
    panel, anchors, _ = world
    rows = tables.table[(tables.table["variant"] == "anchor") & (tables.table["n_latent"] == 4)]
    settings = {row.split: Settings(row.alpha, row.ridge) for row in rows.itertuples()}
    arm = Arm("anchor", lambda _: anchors, settings=settings)
    expected = donor_values(order_endpoint(panel, [arm], replace(FEW, n_latent=4))).set_index("donor")["value"]
    mine = tables.values[(tables.values["variant"] == "anchor") & (tables.values["n_latent"] == 4)]
    found = mine[mine["endpoint"] == "order"].set_index("donor")["value"].sort_index()
    np.testing.assert_allclose(found, expected.sort_index(), rtol=1e-12)


def test_curves_end_at_the_fit_and_follow_held_out_order(tables):
    keys = ["split", "variant", "n_latent", "topology"]
    table = tables.table.set_index(keys)
    assert len(table) == tables.curves.groupby(keys).ngroups
    for key, rows in tables.curves.groupby(keys):
        row, last = table.loc[key], rows.iloc[-1]
        assert last["iteration"] == row["n_iter"]
        assert last["loss"] == pytest.approx(row["training_loss"], rel=1e-9)
        known = rows.dropna(subset=["order"])
        assert known["iteration"].tolist() == [1, 5, row["n_iter"]]
        assert known["order"].iloc[-1] == pytest.approx(row["order"], abs=1e-9)


def test_the_tables_depend_on_neither_the_order_of_cells_nor_the_workers(world, tables, monkeypatch):
    panel, anchors, cells = world
    few = replace(GRID, anchor_latents=(4,), checkpoints=())
    one = replace(panel, splits=panel.splits[:1])
    monkeypatch.setenv(WORKERS, "2")
    shuffled = adaptor_table(one, lambda _: anchors, cells.shuffled(3), FEW, few).values
    first = tables.values.merge(shuffled, on=["split", "variant", "n_latent", "topology", "endpoint", "donor"])
    assert len(first) == len(shuffled)
    np.testing.assert_allclose(first["value_x"], first["value_y"], atol=1e-6)


def test_variants_are_compared_donor_by_donor():
    rows = [
        ("fold0", variant, n, 0.0, n == 10, n == 10, "order", f"d{d}", value + 0.01 * d)
        for variant, value in (("anchor", 0.5), ("cell", 0.7))
        for n in (3, 10)
        for d in range(6)
    ]
    columns = ["split", "variant", "n_latent", "topology", "chosen", "chosen_of_variant", "endpoint", "donor", "value"]
    values = pd.DataFrame(rows, columns=columns)
    values.loc[values["n_latent"] == 3, "value"] = 9.0  # was not chosen
    lost = values[(values["donor"] != "d5") | (values["variant"] != "cell")]
    found = adaptor_comparison(lost).iloc[0]
    assert (found["variant"], found["other"], found["n_donors"]) == ("cell", "anchor", 5)
    assert found["effect"] == pytest.approx(0.2)
    assert (found["lo"], found["hi"]) == pytest.approx((0.2, 0.2))
    assert found["p"] == found["smallest_p"] == 2 / 2**5
    assert adaptor_comparison(lost[lost["variant"] == "cell"]).empty


def test_misuse_is_refused(world, planted):
    panel, anchors, cells = world

    def run(features=anchors, source=cells.source, on=panel):
        return adaptor_table(on, lambda _: features, source, FEW, replace(GRID, anchor_latents=(2,), checkpoints=()))

    with pytest.raises(InputError, match="no splits"):
        run(on=planted(n_donors=1)[0])
    with pytest.raises(InputError, match="None of the 40 features varies"):
        run(source=CellSource(cells.obs, lambda _, rows: np.ones((len(rows), 40))))
    with pytest.raises(InputError, match="NaN"):
        run(source=CellSource(cells.obs, lambda _, rows: np.full((len(rows), 40), np.nan)))
    with pytest.raises(InputError, match="None of the 432 cells is of a stage and donor"):
        run(source=CellSource(cells.obs.assign(donor="somebody"), cells.features))
    with pytest.raises(InputError, match="at least two different stages"):
        run(source=CellSource(cells.obs.assign(stage="HSC"), cells.features))
    with pytest.raises(InputError, match=r"no columns \['stage'\]"):
        CellSource(cells.obs.drop(columns="stage"), cells.features)
    with pytest.raises(InputError, match="cell names occur before"):
        run(source=CellSource(cells.obs.set_axis(["same"] * len(cells.obs)), cells.features))
    assert Settings() == Settings(ALPHA, RIDGE)
