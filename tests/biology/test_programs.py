from importlib.resources import files

import pandas as pd
import pytest

from interp.biology import StageGraph, gene_pool, gene_programs
from interp.biology.programs import gene_modules, marker_programs, program_table, signature_table


@pytest.fixture(scope="module")
def graph():
    return StageGraph.hematopoiesis()


def test_every_stage_and_branch_has_markers(graph):
    programs = gene_programs(graph)
    assert set(programs) == set(graph.stages) | set(graph.branches)
    assert all(len(genes) >= 8 and len(set(genes)) == len(genes) for genes in programs.values())


def test_only_programs_of_the_graph_are_returned():
    graph = StageGraph.from_edges(pd.DataFrame({"stage": ["HSC"], "parent": [""], "branch": ["stem"]}))
    assert set(gene_programs(graph)) == {"HSC"}


def test_markers_stand_where_textbooks_have_them(graph):
    programs = gene_programs(graph)
    for gene, place in {"CD3E": "T", "CD79A": "B and plasma", "CD14": "classical monocyte", "FOXP3": "Treg"}.items():
        assert gene in programs[place]
        assert gene not in programs["erythrocyte"]


def test_modules_share_no_gene_with_markers(graph):
    markers = {gene for genes in gene_programs(graph).values() for gene in genes}
    nuisance = {gene for genes in gene_modules().values() for gene in genes}
    assert not markers & nuisance


def test_first_thousand_genes_hold_all_programs(graph):
    pool = gene_pool()
    assert len(pool) == len(set(pool)) == 1500
    assert set(program_table()["gene"]) <= set(pool[:1000])
    markers = {gene for genes in gene_programs(graph).values() for gene in genes}
    share = [len(markers & set(pool[:n])) / n for n in (200, 500, 1000)]
    assert max(share) - min(share) < 0.05


def test_every_source_has_its_reference(graph):
    table = pd.read_csv(str(files("interp.biology") / "sources.csv"))
    texts = [*program_table()["source"], *graph.to_frame()["source"]]
    keys = {part.split(": ")[-1].strip() for text in texts for part in text.split(";")}
    assert keys <= set(table["source"])


def test_tables_of_stages_name_the_same_stages(graph):
    tissues = pd.read_csv(str(files("interp.biology") / "tissues.csv"))
    assert set(tissues["stage"]) == set(graph.stages)
    assert (tissues.drop(columns="stage").sum(axis=1) > 0).all()


def test_signatures_are_wide_sourced_and_apart_from_the_simulated_worlds(graph):
    table = signature_table()
    assert not table.duplicated(["program", "gene"]).any()
    assert table.groupby("program").size().min() >= 12
    references = pd.read_csv(str(files("interp.biology") / "sources.csv"))
    assert {part.strip() for text in table["source"] for part in text.split(";")} <= set(references["source"])
    assert not set(table["program"]) & set(program_table()["program"])


def test_marker_programs_name_lineages_and_processes(graph):
    programs = marker_programs()
    wanted = {"T / lymphoid", "B / plasma", "granulocytic", "monocyte / macrophage", "S phase", "interferon"}
    assert wanted <= set(programs)
    assert set(marker_programs(graph)) == set(programs) | set(gene_programs(graph))
