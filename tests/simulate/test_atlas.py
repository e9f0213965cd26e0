import anndata
import numpy as np
import pytest
from scipy import sparse
from scipy.stats import spearmanr

from interp.biology import StageGraph, map_labels
from interp.errors import InputError
from interp.simulate import simulate
from interp.simulate.donors import DEFAULT_STAGES

PINNED_COUNTS = 14059
PINNED_TYPES = ["cDC", "erythroblast", "DP thymocyte"]


@pytest.fixture(scope="module")
def atlas():
    return simulate(n_donors=8, n_cells=2400, with_rate=True)


@pytest.fixture(scope="module")
def log_expression(atlas):
    total = np.asarray(atlas.X.sum(axis=1))
    return np.log1p(atlas.X.toarray() / total * 1e4)


def means(values, labels):
    names = sorted(set(labels))
    return names, np.stack([values[labels == name].mean(axis=0) for name in names])


def spearman_with_hops(values, labels):
    names, centres = means(values, labels)
    distance = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    pairs = np.triu_indices(len(names), 1)
    return spearmanr(distance[pairs], StageGraph.hematopoiesis().ruler(names)[pairs])[0]


def test_every_study_of_the_confounded_world_has_stages_and_an_effect_of_its_own():
    cells = simulate(n_donors=6, n_cells=1800, world="study-is-stage")
    of_study = cells.obs.groupby("study", observed=True)["cell_type"].unique()
    assert len(of_study) == 3
    assert len(set().union(*of_study)) == sum(map(len, of_study))  # no stage in two studies
    assert min(map(len, of_study)) >= 4  # so that an order within a study could be asked for
    assert (cells.obs.groupby("donor", observed=True)["study"].nunique() == 1).all()
    share = np.asarray(cells.X.sum(1)).ravel()
    level = np.log1p(cells.X.toarray() / share[:, None] * 1e4)
    means = np.stack([level[(cells.obs["study"] == study).to_numpy()].mean(0) for study in of_study.index])
    donors = cells.obs["donor"].to_numpy()
    first = np.unique(donors[(cells.obs["study"] == "study0").to_numpy()])
    between_donors = np.std([level[donors == donor].mean(0) for donor in first], axis=0).mean()
    assert means.std(axis=0).mean() > 2 * between_donors


def test_counts_are_raw_and_sparse(atlas):
    assert atlas.shape == (2400, 1000)
    assert sparse.isspmatrix_csr(atlas.X) or isinstance(atlas.X, sparse.csr_array)
    assert atlas.X.dtype == np.float32
    assert (atlas.X.data == np.round(atlas.X.data)).all()
    assert atlas.X.data.min() >= 1
    assert 200 <= np.median(atlas.X.getnnz(axis=1)) <= 400
    assert atlas.obs_names.is_unique
    assert atlas.var_names.is_unique


def test_default_stages_cover_all_branches_and_many_distances():
    graph = StageGraph.hematopoiesis()
    assert {graph.branch(stage) for stage in DEFAULT_STAGES} == set(graph.branches)
    assert len(np.unique(graph.ruler(DEFAULT_STAGES))) >= 9


def test_labels_map_to_stages_exactly(atlas):
    found = map_labels(atlas.obs["cell_type"], StageGraph.hematopoiesis())
    assert set(found["status"]) == {"exact"}
    assert set(found["stage"]) == set(DEFAULT_STAGES)


def test_donors_differ_in_stages_and_tissues(atlas):
    per_donor = atlas.obs.groupby("donor", observed=True)
    assert per_donor.ngroups == 8
    assert per_donor["cell_type"].nunique().min() < len(DEFAULT_STAGES)
    assert set(atlas.obs["tissue"]) == {"marrow", "blood"}
    in_blood = set(atlas.obs.loc[atlas.obs["tissue"] == "blood", "cell_type"])
    assert not in_blood & {"HSC", "CMP", "GMP", "CLP", "pro-B", "erythroblast"}


def test_equal_arguments_give_equal_cells_and_the_seed_is_used():
    cells, again, other = (simulate(n_donors=3, n_cells=150, seed=seed) for seed in (0, 0, 1))
    assert (again.X != cells.X).nnz == 0
    assert again.obs.equals(cells.obs)
    assert not set(other.obs["donor"]) & set(cells.obs["donor"])
    assert not set(other.obs_names) & set(cells.obs_names)
    np.testing.assert_array_equal(other.varm["true_loadings"], cells.varm["true_loadings"])
    assert (other.X != cells.X).nnz > 0


def test_atlas_never_changes():
    """The embedded model was trained on what these arguments draw; a change here asks for a new model."""
    cells = simulate(n_donors=2, n_cells=60, n_genes=200, stages="all")
    assert cells.X.sum() == PINNED_COUNTS
    assert cells.obs["cell_type"].astype(str).iloc[[0, 30, 59]].tolist() == PINNED_TYPES


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002 the point is that nobody touches it
    simulate(n_donors=1, n_cells=20, n_genes=50)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_distance_follows_hops_in_the_ordered_world_only(atlas, log_expression):
    labels = atlas.obs["cell_type"].to_numpy(str)
    assert spearman_with_hops(log_expression, labels) > 0.9
    flat = simulate(n_donors=4, n_cells=1500, world="labels-only")
    total = np.asarray(flat.X.sum(axis=1))
    values = np.log1p(flat.X.toarray() / total * 1e4)
    assert abs(spearman_with_hops(values, flat.obs["cell_type"].to_numpy(str))) < 0.35
    assert flat.obs["true_pseudotime"].isna().all()


def test_cell_types_are_found_again_on_unseen_donors(atlas, log_expression):
    from sklearn.decomposition import PCA
    from sklearn.neighbors import KNeighborsClassifier

    donors = sorted(set(atlas.obs["donor"]))
    seen = atlas.obs["donor"].isin(donors[:6]).to_numpy()
    labels = atlas.obs["cell_type"].to_numpy(str)
    pca = PCA(20, random_state=0).fit(log_expression[seen])
    knn = KNeighborsClassifier(15).fit(pca.transform(log_expression[seen]), labels[seen])
    accuracy = (knn.predict(pca.transform(log_expression[~seen])) == labels[~seen]).mean()
    assert accuracy > 0.8


def test_strength_zero_leaves_nothing_to_find():
    from sklearn.decomposition import PCA
    from sklearn.neighbors import KNeighborsClassifier

    cells = simulate(n_donors=4, n_cells=1200, strength=0.0, stages=["HSC", "GMP", "pro-B"])
    values = PCA(10, random_state=0).fit_transform(np.log1p(cells.X.toarray()))
    labels = cells.obs["cell_type"].to_numpy(str)
    half = np.arange(len(labels)) % 2 == 0
    accuracy = (KNeighborsClassifier(15).fit(values[half], labels[half]).predict(values[~half]) == labels[~half]).mean()
    assert accuracy < max(np.unique(labels, return_counts=True)[1]) / len(labels) + 0.08


def test_rate_is_the_mean_of_counts(atlas):
    rate = atlas.layers["rate"]
    np.testing.assert_allclose(rate.sum(axis=1), 1.0, atol=1e-4)
    total = np.asarray(atlas.X.sum(axis=1))
    expected = (rate * total).sum(axis=0)
    observed = np.asarray(atlas.X.sum(axis=0)).ravel()
    common = expected > 1000  # dropout takes some of the rarer ones
    assert np.abs(observed[common] / expected[common] - 1).max() < 0.15
    assert np.corrcoef(np.log(expected[common]), np.log(observed[common]))[0, 1] > 0.99


def test_truth_is_consistent(atlas):
    graph = StageGraph.hematopoiesis()
    depth = atlas.obs["cell_type"].astype(str).map(graph.depth).to_numpy()
    time = atlas.obs["true_pseudotime"].to_numpy()
    assert ((time > depth - 1) & (time <= depth)).all()
    programs = list(atlas.uns["truth"]["programs"])
    assert programs == list(graph.stages)
    latent = atlas.obsm["true_latent"]
    assert latent.shape == (2400, 34)
    np.testing.assert_allclose(latent.sum(axis=1) - 1, time, atol=1e-5)
    assert atlas.varm["true_loadings"].shape == (1000, 34)
    assert atlas.obsm["true_modules"].shape == (2400, len(atlas.uns["truth"]["modules"]))


def test_markers_are_high_where_they_belong(atlas, log_expression):
    names, centres = means(log_expression, atlas.obs["cell_type"].to_numpy(str))
    highest = {gene: names[centres[:, atlas.var_names.get_loc(gene)].argmax()] for gene in ("CD14", "NCAM1", "GATA1")}
    assert highest["CD14"] in {"classical monocyte", "non-classical monocyte"}
    assert highest["NCAM1"] == "NK"
    assert highest["GATA1"] in {"erythroblast", "megakaryocyte"}


def test_module_activity_drives_its_genes_and_not_the_stage(atlas, log_expression):
    column = list(atlas.uns["truth"]["modules"]).index("G2M phase")
    activity = atlas.obsm["true_modules"][:, column]
    genes = (atlas.var["program"] == "G2M phase").to_numpy()
    assert spearmanr(activity, log_expression[:, genes].mean(axis=1))[0] > 0.4
    assert abs(spearmanr(activity, atlas.obs["true_pseudotime"])[0]) < 0.1


def test_file_round_trip(atlas, tmp_path):
    atlas.write_h5ad(tmp_path / "atlas.h5ad")
    again = anndata.read_h5ad(tmp_path / "atlas.h5ad")
    assert (again.X != atlas.X).nnz == 0
    assert again.uns["truth"]["world"] == "ordered"


def test_all_stages_and_thymus():
    cells = simulate(n_donors=10, n_cells=3000, stages="all")
    assert cells.obs["cell_type"].nunique() == 34
    thymus = cells.obs["tissue"] == "thymus"
    assert set(cells.obs.loc[cells.obs["cell_type"] == "DP thymocyte", "tissue"]) == {"thymus"}
    assert "HSC" not in set(cells.obs.loc[thymus, "cell_type"])


def test_unrelated_world_maps_to_no_stage():
    cells = simulate(n_donors=3, n_cells=300, world="unrelated")
    assert set(map_labels(cells.obs["cell_type"], StageGraph.hematopoiesis())["status"]) == {"unmapped"}


def test_every_donor_gets_cells():
    cells = simulate(n_donors=7, n_cells=7, n_genes=50, stages="HSC")
    assert cells.obs["donor"].value_counts().tolist() == [1] * 7
    assert set(cells.obs["cell_type"]) == {"HSC"}


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"n_donors": 0}, "at least one donor"),
        ({"n_donors": 5, "n_cells": 4}, "at least one donor"),
        ({"world": "flat"}, "labels-only"),
        ({"stages": ["HSC", "hsc"]}, "hsc"),
        ({"stages": []}, "empty"),
        ({"world": "unrelated", "stages": ["HSC"]}, "no stages"),
        ({"seed": -1}, "seed"),
    ],
)
def test_bad_input(more, says):
    with pytest.raises(InputError, match=says):
        simulate(**more)
