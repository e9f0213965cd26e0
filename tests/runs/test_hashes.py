from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from interp.errors import InputError
from interp.runs.hashes import json_text, sha256_arrays, sha256_file, sha256_json, sha256_path


@dataclass
class Choice:
    alpha: float
    genes: tuple[str, ...]


def test_json_has_one_text_per_value():
    value = {"b": np.float64(0.1), "a": (1, np.int32(2)), "nan": float("nan"), "set": {"y", "x"}, "path": Path("p/q")}
    assert json_text(value) == '{"a":[1,2],"b":0.1,"nan":null,"path":"p/q","set":["x","y"]}'
    assert json_text(Choice(0.1, ("GATA1",))) == '{"alpha":0.1,"genes":["GATA1"]}'
    assert json_text({1: np.array([True, False]), "ü": np.inf}) == '{"1":[true,false],"ü":null}'


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_keep_every_digit(number):
    import json

    assert json.loads(json_text(number)) == number


@pytest.mark.parametrize("value", [object(), {"f": len}, {(1, 2): 3}])
def test_what_has_no_json_form_is_refused(value):
    with pytest.raises(InputError, match="give"):
        sha256_json(value)


def test_array_hashes_see_names_types_shapes_and_values():
    base = np.arange(6, dtype=np.float32)
    variants = [
        sha256_arrays(x=base),
        sha256_arrays(y=base),
        sha256_arrays(x=base.astype(np.float64)),
        sha256_arrays(x=base.reshape(2, 3)),
        sha256_arrays(x=base + 1),
        sha256_arrays(x=base, y=base),
    ]
    assert len(set(variants)) == len(variants)


def test_array_hashes_ignore_layout_byte_order_and_text_width():
    square = np.arange(9.0).reshape(3, 3)
    assert sha256_arrays(x=square.T) == sha256_arrays(x=np.ascontiguousarray(square.T))
    assert sha256_arrays(x=square.astype(">f8")) == sha256_arrays(x=square)
    names = np.array(["a", "bc"])
    assert sha256_arrays(x=names) == sha256_arrays(x=names.astype("U9")) == sha256_arrays(x=names.astype(object))
    assert sha256_arrays(x=np.array(["ab", "c"])) != sha256_arrays(x=np.array(["a", "bc"]))


def test_folder_hashes_see_names_and_bytes(tmp_path):
    for name, text in {"one/a.txt": "1", "two/a.txt": "1", "three/b.txt": "1", "four/a.txt": "2"}.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    one, two, three, four = (sha256_path(tmp_path / name) for name in ("one", "two", "three", "four"))
    assert one == two
    assert len({one, three, four}) == 3


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.txt"):
        sha256_file(tmp_path / "nowhere.txt")
