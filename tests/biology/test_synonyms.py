import anndata
import pandas as pd
import pytest

from interp.biology import StageGraph, map_labels
from interp.biology.synonyms import label_key
from interp.errors import InputError


@pytest.fixture(scope="module")
def graph():
    return StageGraph.hematopoiesis()


def stage_of(label, graph, **more):
    return map_labels([label], graph, **more).iloc[0]


def test_names_and_ids_of_the_graph_map_to_themselves(graph):
    for column in ("stage", "cell_ontology", "cell_ontology_name"):
        found = map_labels(graph.to_frame()[column], graph)
        assert found["stage"].tolist() == list(graph.stages)
        assert set(found["status"]) == {"exact"}


@pytest.mark.parametrize(
    ("label", "stage"),
    [
        ("CD14+ Monocytes", "classical monocyte"),
        ("cd14+_monocyte", "classical monocyte"),
        ("FCGR3A+ monocyte", "non-classical monocyte"),
        ("Cl_Mono", "classical monocyte"),
        ("Megakaryocytes", "megakaryocyte"),
        ("regulatory T cell", "Treg"),
        ("T regs", "Treg"),
        ("CD8 naive T cell", "naive CD8 T"),
        ("plasmacytoid dendritic cell, human", "pDC"),
        ("CL:0000084x", None),
        ("CD16- monocyte", None),
        ("beta", None),
        ("", None),
    ],
)
def test_spellings(graph, label, stage):
    assert stage_of(label, graph)["stage"] == stage


@pytest.mark.parametrize(
    ("label", "candidates", "branch"),
    [
        ("CD4 T cell", ("naive CD4 T", "memory CD4 T", "Treg"), "T"),
        ("B cells", ("naive B", "memory B"), "B and plasma"),
        ("dendritic cell", ("cDC", "pDC"), "monocyte and dendritic"),
        ("NK/ILC", ("NK", "ILC"), "NK and ILC"),
        ("erythroid progenitor cell", ("MEP", "erythroblast"), None),
    ],
)
def test_coarse_labels_keep_a_branch_only_where_all_candidates_share_it(graph, label, candidates, branch):
    row = stage_of(label, graph)
    assert row["status"] == "coarse"
    assert row["stage"] is None
    assert row["candidates"] == candidates
    assert row["branch"] == branch


def test_unmapped_rows_are_empty(graph):
    row = stage_of("activated_stellate", graph)
    assert (row["stage"], row["candidates"], row["branch"], row["status"]) == (None, (), None, "unmapped")


def test_repeats_and_missing_values_collapse(graph):
    found = map_labels(["NK", None, "HSC", "NK", float("nan")], graph)
    assert found.index.tolist() == ["NK", "HSC"]
    assert map_labels([], graph).empty


def test_categorical_columns_are_taken(graph):
    assert map_labels(pd.Categorical(["NK", "NK"]), graph)["stage"].tolist() == ["NK"]


def test_a_smaller_graph_keeps_coarse_labels_coarse():
    graph = StageGraph.from_edges(
        pd.DataFrame({"stage": ["HSC", "naive B"], "parent": ["", "HSC"], "branch": ["stem", "B"]})
    )
    row = stage_of("B cell", graph)
    assert (row["status"], row["stage"], row["candidates"], row["branch"]) == ("coarse", None, ("naive B",), "B")
    assert stage_of("NK cell", graph)["status"] == "unmapped"


def test_own_table_goes_first(graph):
    table = pd.DataFrame({"label": ["Multipotent progenitors", "mine"], "stages": ["MEP", "NK; ILC"]})
    assert stage_of("multipotent progenitor", graph)["stage"] == "MPP"
    assert stage_of("multipotent progenitor", graph, table=table)["stage"] == "MEP"
    assert stage_of("mine", graph, table=table)["candidates"] == ("NK", "ILC")


def test_own_table_is_checked(graph):
    with pytest.raises(InputError, match="stages"):
        map_labels(["NK"], graph, table=pd.DataFrame({"label": ["a"]}))
    with pytest.raises(InputError, match="NKX"):
        map_labels(["NK"], graph, table=pd.DataFrame({"label": ["a"], "stages": ["NKX"]}))


def test_shipped_table_is_consistent(graph):
    from importlib.resources import files

    table = pd.read_csv(str(files("interp.biology") / "synonyms.csv"), dtype=str, keep_default_na=False)
    named = [stage for stages in table["stages"] for stage in stages.split(";")]
    assert set(named) <= set(graph.stages)
    meanings = table["stages"].groupby(table["label"].map(label_key)).nunique()
    assert (meanings == 1).all()
    found = map_labels(table["label"], graph)["candidates"].map(";".join)
    assert found.tolist() == table["stages"].tolist()


NOT_HEMATOPOIETIC = {"alpha", "beta", "delta", "activated_stellate", "unknown"}


def test_every_label_of_the_real_cells_is_known(real_cells, graph):
    paths = sorted(real_cells.glob("*.h5ad"))
    assert paths
    for path in paths:
        obs = anndata.read_h5ad(path, backed="r").obs
        for column in ("cell_type", "stage"):
            if column in obs:
                found = map_labels(obs[column], graph)
                assert set(found.index[found["status"] == "unmapped"]) <= NOT_HEMATOPOIETIC, path.name
