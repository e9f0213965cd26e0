import numpy as np
import pandas as pd
import pytest

from interp.errors import InputError
from interp.figures import layer_curve
from interp.figures.look import text_of

from .conftest import probes, words


def heights(ax):
    return [np.unique(np.asarray(line.get_ydata(), float)).round(3).tolist() for line in ax.lines]


def test_layers_heads_null_and_controls_are_all_drawn():
    table, baselines = probes()
    ax = layer_curve(table, baselines, metric="auroc")
    shown = heights(ax)
    assert [0.6, 0.65, 0.7] in shown  # layers
    assert [0.52] in shown  # control task
    assert [0.55] in shown  # untrained layers
    assert [0.9] in shown  # raw
    points = next(line for line in ax.lines if line.get_marker() == "D" and line.get_linestyle() == "None")
    assert len(points.get_xdata()) == 6
    assert len(set(points.get_xdata())) == 6  # heads of one layer stand side by side
    said = words(ax)
    for word in ("resid_post, 95 % interval", "one head (z)", "control task", "untrained resid_post", "raw log1p 0.90"):
        assert word in said
    assert "highest L2H1.z 0.74, 5 held-out donors" in text_of(ax, "note")


def test_only_the_baselines_named_are_drawn():
    table, baselines = probes()
    ax = layer_curve(table, baselines, metric="auroc", names=["PCA-10"])
    assert [0.8] in heights(ax)
    assert [0.9] not in heights(ax)


def test_heads_alone_and_no_baselines():
    table, _ = probes()
    ax = layer_curve(table[table["head"].notna()], metric="auroc", label="AUROC (mean)", title="own")
    assert text_of(ax, "title") == "own"
    assert ax.get_ylabel() == "AUROC (mean)"


@pytest.mark.parametrize("change", [{"metric": "other"}, {"role": "select"}, {"value": np.nan}])
def test_a_table_without_the_metric_is_an_error(change):
    table, _ = probes()
    with pytest.raises(InputError, match="No layer or head has the metric 'auroc'"):
        layer_curve(table.assign(**change), metric="auroc")


def test_two_targets_must_be_told_apart():
    table, baselines = probes()
    both = pd.concat([table, table.assign(target="stage")])
    with pytest.raises(InputError, match="with one target"):
        layer_curve(both, metric="auroc")
    layer_curve(both, baselines, metric="auroc", target="branch")
