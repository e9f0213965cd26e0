import gzip

import pytest

from interp.biology import read_gmt
from interp.errors import InputError


def written(tmp_path, text):
    path = tmp_path / "sets.gmt"
    path.write_bytes(text.encode())
    return path


def test_sets_are_read_in_order_with_each_gene_once(tmp_path):
    path = written(tmp_path, "\ufeffSET_A\tabout\tCD3D\tCD3E\tCD3D\t\t\r\n\n  \nSET B\t\tMS4A1\n")
    assert read_gmt(path) == {"SET_A": ("CD3D", "CD3E"), "SET B": ("MS4A1",)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("A\tabout\tCD3D\nB\tabout\n", "line 2: 2 fields"),
        ("A about CD3D\n", "line 1: 1 fields"),
        ("\tabout\tCD3D\n", "line 1: the set has no name"),
        ("A\tabout\tCD3D\t\tCD3E\n", "line 1: '' is no gene"),
        ("A\tabout\tCD3D CD3E\n", "line 1: 'CD3D CD3E' is no gene"),
        ("A\tabout\tCD3D\nA\tabout\tCD3E\n", "line 2: a second set is called 'A'"),
        ("\n\n", "holds no gene set"),
    ],
)
def test_bad_lines_are_named(tmp_path, text, said):
    with pytest.raises(InputError, match=said):
        read_gmt(written(tmp_path, text))


def test_a_packed_file_and_a_missing_one_say_what_to_do(tmp_path):
    packed = tmp_path / "sets.gmt.gz"
    packed.write_bytes(gzip.compress(b"A\tabout\tCD3D\n"))
    with pytest.raises(InputError, match="unpack it first"):
        read_gmt(packed)
    with pytest.raises(InputError, match="There is no gene set file"):
        read_gmt(tmp_path / "none.gmt")
