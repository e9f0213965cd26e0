import subprocess
import sys

import pytest

import interp

HEAVY = {"anndata", "matplotlib", "numba", "pandas", "scanpy", "scipy", "sklearn", "torch", "transformer_lens", "zarr"}


def modules_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_importing_the_package_imports_nothing_heavy():
    assert not modules_after("import interp") & (HEAVY | {"numpy"})


@pytest.mark.parametrize(
    "module", ["interp.errors", "interp.runs.folder", "interp.stats", "interp.geometry", "interp.cli"]
)
def test_the_light_modules_stay_light(module):
    assert not modules_after(f"import {module}") & HEAVY


def test_cells_and_stages_do_not_need_the_model():
    assert not modules_after("import interp.cells, interp.biology, interp.stats") & {"torch", "transformer_lens"}


@pytest.mark.parametrize("name", interp.__all__)
def test_every_public_name_is_there(name):
    value = getattr(interp, name)
    assert callable(value)
    assert value.__doc__
    assert name in dir(interp)


def test_public_functions_are_not_hidden_by_subpackages_of_the_same_name():
    code = (
        "import interp, interp.simulate\n"
        "from interp.simulate import simulate\n"
        "assert interp.simulate is simulate\n"
        "import interp.discover\n"
        "assert callable(interp.discover)"
    )
    assert "interp.simulate" in modules_after(code)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        interp.nothing  # noqa: B018


def test_all_errors_are_caught_as_one():
    errors = [value for name in interp.__all__ if name.endswith("Error") for value in [getattr(interp, name)]]
    assert len(errors) == 9
    assert all(issubclass(error, interp.InterpError) for error in errors)
