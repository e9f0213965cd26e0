import numpy as np
import pytest

from interp.biology import StageGraph
from interp.errors import InputError
from interp.simulate import make_world


def test_roles_of_genes_do_not_depend_on_how_many_take_part():
    few, many = make_world(n_genes=300), make_world(n_genes=900)
    np.testing.assert_array_equal(few.loadings, many.loadings[:300])
    np.testing.assert_array_equal(few.profiles, many.profiles[:, :, :300])
    assert few.gene_program == many.gene_program[:300]


def test_log_expression_follows_hops_in_the_ordered_world_only():
    from scipy.stats import spearmanr

    graph = StageGraph.hematopoiesis()
    pairs = np.triu_indices(len(graph), 1)
    found = {}
    for name in ("ordered", "labels-only"):
        ends = make_world(name).profiles[:, -1].astype(float)
        distance = np.linalg.norm(ends[:, None] - ends[None], axis=-1)
        found[name] = spearmanr(distance[pairs], graph.ruler()[pairs])[0]
    assert found["ordered"] > 0.9
    assert abs(found["labels-only"]) < 0.2


def test_strength_scales_effects_and_zero_removes_them():
    whole, half, none = (make_world(n_genes=200, strength=s) for s in (1.0, 0.5, 0.0))
    np.testing.assert_allclose(half.loadings, whole.loadings / 2)
    assert not none.loadings.any()
    assert np.ptp(none.profiles, axis=0).max() == 0


def test_another_world_seed_is_another_world():
    assert (make_world(n_genes=100, seed=1).loadings != make_world(n_genes=100).loadings).any()


def test_programs_are_named():
    world = make_world()
    program = dict(zip(world.genes, world.gene_program, strict=True))
    assert program["CD3E"] == "T"
    assert program["MKI67"] == "G2M phase"
    assert program["RPL13A"] == "ribosomal"
    paths = [name for name in world.gene_program if name.startswith("path to ")]
    assert len(paths) > 200
    unrelated = dict(zip(world.genes, make_world("unrelated").gene_program, strict=True))
    assert "T" not in unrelated.values()
    assert unrelated["MKI67"] == "G2M phase"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"name": "flat"}, "ordered"),
        ({"n_genes": 0}, "1 to 1500"),
        ({"n_genes": 1501}, "1 to 1500"),
        ({"strength": -1.0}, "at least 0"),
        ({"strength": float("nan")}, "at least 0"),
    ],
)
def test_bad_input(more, says):
    with pytest.raises(InputError, match=says):
        make_world(**more)
