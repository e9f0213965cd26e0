from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from interp.errors import InputError
from interp.figures import adaptor_curves, adaptor_sweep
from interp.figures.look import text_of

from .conftest import outside

KINDS = [("anchor", 3, 0.0), ("anchor", 10, 0.0), ("cell", 10, 0.0), ("hybrid", 10, 0.1), ("hybrid", 10, 2.0)]
SPLITS = ("fold0", "fold1")


def keyed() -> Iterator[tuple[str, tuple[str, int, float], dict]]:
    for split in SPLITS:
        for variant, n_latent, topology in KINDS:
            yield split, (variant, n_latent, topology), {
                "split": split, "variant": variant, "n_latent": n_latent, "topology": topology,
            }  # fmt: skip


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hybrids of weight 2 are the best within training donors, and no better on unseen ones."""
    rows, values = [], []
    for split, (variant, n_latent, topology), keys in keyed():
        best = {"anchor": n_latent == 10, "cell": True, "hybrid": topology == 2.0}[variant]
        rows.append({**keys, "inner": 0.5 + 0.1 * topology, "chosen_of_variant": best})
        values += [
            {**keys, "endpoint": "order", "donor": f"{split} d{d}", "value": 0.6 + 0.02 * d + 0.01 * n_latent}
            for d in range(4)
        ]
    return pd.DataFrame(rows), pd.DataFrame(values)


def curves() -> pd.DataFrame:
    rows = []
    for split, _, keys in keyed():
        for at in range(60 if split == "fold0" else 30):
            known = at in (1, 10) or at == (59 if split == "fold0" else 29)
            rows.append({**keys, "iteration": at, "loss": 1 + 1 / (1 + at), "order": 0.5 if known else np.nan})
    return pd.DataFrame(rows)


def drawn(figure):
    for ax in figure.axes:
        assert outside(ax) == []
        assert text_of(ax, "title")
    sizes = [text.get_size() for text in figure.findobj(mpl.text.Text) if text.get_text()]
    assert min(sizes) >= 4.9
    return figure.axes


def test_curves_of_all_splits_stand_beside_held_out_order():
    left, right = drawn(adaptor_curves(curves()))
    assert len(left.lines) == len(KINDS) * len(SPLITS)
    assert all(line.get_ydata()[-1] == 1 for line in left.lines)
    assert len(right.lines) == len(KINDS)
    assert list(right.lines[0].get_xdata()) == [2, 11, 30, 60]
    assert len(left.get_legend().get_texts()) == len(KINDS)


def test_a_sweep_over_topology_has_cell_at_zero_and_anchor_as_a_level():
    left, right = drawn(adaptor_sweep(*tables(), over="topology"))
    assert [text.get_text() for text in left.get_xticklabels()] == ["0 (cell)", "0.1", "2"]
    assert text_of(left, "note") == "chosen, split by split: hybrid 2.0, 2.0"
    means = [line for line in right.lines if line.get_marker() == "D"]
    np.testing.assert_allclose(means[0].get_ydata(), [0.73, 0.73, 0.73])
    assert "unseen donors (8)" in text_of(right, "note")


def test_a_sweep_over_latent_sizes_takes_the_hybrid_that_training_donors_chose():
    left, right = drawn(adaptor_sweep(*tables(), over="n_latent"))
    means = {line.get_color(): line.get_ydata() for line in left.lines if line.get_marker() == "D"}
    np.testing.assert_allclose(means["#009E73"], [0.7])
    np.testing.assert_allclose(means["#0072B2"], [0.5, 0.5])
    assert [text.get_text() for text in right.get_xticklabels()] == ["3", "10"]


def test_misuse_is_refused():
    table, values = tables()
    with pytest.raises(InputError, match="not 'seed'"):
        adaptor_sweep(table, values, over="seed")
    with pytest.raises(InputError, match="No row has the endpoint"):
        adaptor_sweep(table, values, over="topology", endpoint="nothing")
    with pytest.raises(InputError, match="no hybrid"):
        adaptor_sweep(table[table["variant"] != "hybrid"], values, over="topology")
    with pytest.raises(InputError, match="inner"):
        adaptor_sweep(table.drop(columns="inner"), values, over="topology")
    with pytest.raises(InputError, match="loss"):
        adaptor_curves(curves().drop(columns="loss"))
