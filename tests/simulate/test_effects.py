import numpy as np
import pytest

from interp.biology import StageGraph
from interp.simulate.effects import STAGE_DECAY, Effects, ordered_activity, positions, switched_on, unordered_activity


@pytest.fixture(scope="module")
def chain():
    """Three stages in a row, one gene kept and one gene fading for each."""
    import pandas as pd

    table = pd.DataFrame({"stage": ["a", "b", "c"], "parent": ["", "a", "b"], "branch": "x"})
    kept, fading = np.zeros((3, 6)), np.zeros((3, 6))
    for i in range(3):
        kept[i, i], fading[i, 3 + i] = 1.0, 2.0
    effects = Effects(kept, fading, np.full((3, 6), STAGE_DECAY), np.full((3, 6), 0.5))
    return StageGraph.from_edges(table), effects


def test_kept_genes_stay_and_fading_genes_fade(chain):
    graph, effects = chain
    profiles, latent = ordered_activity(effects, graph)
    at = positions()
    np.testing.assert_allclose(profiles[0], np.broadcast_to([1, 0, 0, 2, 0, 0], profiles[0].shape))
    np.testing.assert_allclose(profiles[2, :, :2], 1.0)
    np.testing.assert_allclose(profiles[2, :, 3], 2 * STAGE_DECAY ** (1 + at))
    np.testing.assert_allclose(profiles[2, :, 4], 2 * STAGE_DECAY**at)
    np.testing.assert_allclose(latent[2], np.column_stack([np.ones_like(at), np.ones_like(at), at]))


def test_a_stage_begins_where_its_parent_ends(chain):
    graph, effects = chain
    profiles, _ = ordered_activity(effects, graph)
    step = np.abs(np.diff(profiles[1:], axis=1)).max()
    assert np.abs(profiles[2, 0] - profiles[1, -1]).max() <= step


def test_genes_switch_at_their_onset():
    share = switched_on(np.array([0.25, 0.75]))
    middle = len(share) // 2
    assert share[middle, 0] > 0.9
    assert share[middle, 1] < 0.1
    assert (np.diff(share, axis=0) > 0).all()
    assert share.min() >= 0
    assert share.max() <= 1


def test_unordered_types_share_nothing(chain):
    _, effects = chain
    profiles, latent = unordered_activity(effects)
    assert not profiles[0, :, 1:].any()
    np.testing.assert_allclose(latent[1, :, 1], positions())
    assert not latent[1, :, [0, 2]].any()
