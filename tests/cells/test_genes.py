import numpy as np
import pytest

from interp.cells.genes import match_genes
from interp.errors import InputError, VocabularyError

HUMAN = ("CD3D", "CD4", "CD8A", "LYZ", "HBB", "GATA1")


def test_fraction_is_of_the_smaller_set() -> None:
    wide = match_genes([*HUMAN, "X1", "X2"], HUMAN[:4])
    assert wide.fraction == 1.0
    narrow = match_genes(["CD3D", "X1"], HUMAN)
    assert narrow.fraction == 0.5
    assert narrow.matched == {"CD3D": "CD3D"}
    assert narrow.missing == ("X1",)


def test_share_of_counts() -> None:
    match = match_genes(["CD3D", "X1", "LYZ"], HUMAN, counts_per_gene=[6.0, 3.0, 1.0])
    assert match.count_share == pytest.approx(0.7)
    assert np.isnan(match_genes(["CD3D"], HUMAN).count_share)
    with pytest.raises(InputError, match="2 entries for 1 genes"):
        match_genes(["CD3D"], HUMAN, counts_per_gene=[1.0, 2.0])


def test_neither_case_nor_alias_is_guessed() -> None:
    assert match_genes(["cd3d", "CD4"], HUMAN, minimum=0).matched == {"CD4": "CD4"}


def test_genes_that_claim_one_symbol_are_ambiguous() -> None:
    table = {"ENSG00000000001": "LYZ", "ENSG00000000002": "LYZ", "ENSG00000000003": "HBB"}
    match = match_genes(["ENSG00000000001.4", "ENSG00000000002", "ENSG00000000003.1"], HUMAN, table=table)
    assert match.matched == {"ENSG00000000003.1": "HBB"}
    assert match.ambiguous == {"LYZ": ("ENSG00000000001.4", "ENSG00000000002")}
    assert match.missing == ()


@pytest.mark.parametrize(
    ("genes", "advice"),
    [
        (["ENSG00000167286", "ENSG00000010610.9", "ENSMUSG00000032094"], "Ensembl.*gene_key"),
        (["Cd3d", "Cd4", "Lyz"], "mouse.*'Cd3d', human 'CD3D'"),
        (["915", "920", "4069"], "bare numbers"),
        (["AT1G01010", "AT1G01020"], "human gene symbols"),
    ],
)
def test_wrong_ids_or_organism_are_named(genes: list[str], advice: str) -> None:
    with pytest.raises(VocabularyError, match=advice) as error:
        match_genes(genes, HUMAN)
    assert "0.0%" in str(error.value)
    assert match_genes(genes, HUMAN, minimum=0).fraction == 0.0


def test_human_names_with_small_letters_are_not_called_mouse() -> None:
    assert match_genes(["CD3D", "C9orf72", "C1orf112"], HUMAN).hint == ""


def test_no_genes_match_nothing() -> None:
    assert match_genes([], HUMAN, minimum=0).fraction == 0.0
