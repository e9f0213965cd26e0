import json

import numpy as np
import pytest

from interp.errors import VocabularyError
from interp.scgpt.vocabulary import Vocabulary

MAPPING = {"CD34": 2, "<cls>": 0, "GATA1": 3, "<pad>": 1, "<eoc>": 4}


def test_ids_are_those_of_the_mapping_whatever_its_order():
    vocabulary = Vocabulary.from_mapping(MAPPING)
    assert vocabulary.symbols == ("<cls>", "<pad>", "CD34", "GATA1", "<eoc>")
    assert vocabulary.to_mapping() == MAPPING
    assert (vocabulary.pad_id, vocabulary.cls_id, len(vocabulary)) == (1, 0, 5)
    ids = vocabulary.ids(["GATA1", "CD34", "GATA1"])
    assert ids.dtype == np.int64
    assert ids.tolist() == [3, 2, 3]
    assert vocabulary.ids([]).shape == (0,)


def test_special_tokens_are_no_genes():
    vocabulary = Vocabulary.from_mapping(MAPPING)
    assert vocabulary.genes == ("CD34", "GATA1")
    assert "CD34" in vocabulary
    assert "<pad>" not in vocabulary
    with pytest.raises(VocabularyError, match="<cls>"):
        vocabulary.ids(["CD34", "<cls>"])


def test_unknown_genes_are_named():
    with pytest.raises(VocabularyError, match=r"1 of 2 genes .*ENSG00000174059"):
        Vocabulary.from_mapping(MAPPING).ids(["CD34", "ENSG00000174059"])


def test_the_hash_follows_symbols_and_ids_not_the_order_in_the_file():
    one = Vocabulary.from_mapping(MAPPING)
    same = Vocabulary.from_mapping(dict(reversed(MAPPING.items())))
    other = Vocabulary.from_mapping({**MAPPING, "CD34": 3, "GATA1": 2})
    assert one.sha256 == same.sha256
    assert one == same
    assert one.sha256 != other.sha256
    assert one != other


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"GATA1": 2}, "each once"),
        ({"GATA1": 7}, "GATA1=7"),
        ({"GATA1": -1}, "GATA1=-1"),
        ({"GATA1": 3.0}, "whole number"),
        ({"GATA1": True}, "whole number"),
        ({"GATA1": "3"}, "whole number"),
    ],
)
def test_ids_that_are_no_permutation_are_refused(changed, message):
    with pytest.raises(VocabularyError, match=message):
        Vocabulary.from_mapping({**MAPPING, **changed})


@pytest.mark.parametrize("token", ["<pad>", "<cls>"])
def test_a_vocabulary_without_its_special_tokens_is_refused(token):
    with pytest.raises(VocabularyError, match=token):
        Vocabulary([symbol for symbol in ("<pad>", "<cls>", "CD34") if symbol != token])


def test_a_symbol_that_stands_twice_is_refused():
    with pytest.raises(VocabularyError, match="twice: CD34"):
        Vocabulary(["<pad>", "<cls>", "CD34", "CD34"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"<pad>": 0, "<cls>": 1, "CD34": 2, "CD34": 2}', "twice: CD34"),
        ('{"<pad>": 0, "<cls>"', "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[1, 2]", "holds a list"),
        ("\xff\xfe", "not valid JSON"),
    ],
)
def test_a_damaged_file_is_named_in_the_error(tmp_path, text, message):
    path = tmp_path / "vocab.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(VocabularyError, match=message) as caught:
        Vocabulary.read(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named_in_the_error(tmp_path):
    with pytest.raises(VocabularyError, match="nowhere"):
        Vocabulary.read(tmp_path / "nowhere.json")


def test_a_file_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps(MAPPING))
    assert Vocabulary.read(path) == Vocabulary.from_mapping(MAPPING)
