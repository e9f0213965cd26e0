"""Models and algorithms that load by name: inside the installed package, or in the source tree."""

from pathlib import Path

from interp.errors import InputError

_PACKAGE = Path(__file__).resolve().parent.parent
INSTALLED = _PACKAGE / "_artifacts"
SOURCE = _PACKAGE.parent / "artifacts"
ALGORITHMS = "algorithms"
MARKS = {"model": "args.json", "algorithm": "manifest.json"}  # the file that every folder of the kind holds


def artifact_folder(name: str) -> Path:
    """Find a model or algorithm that ships with the package.

    Parameters
    ----------
    name
        Such as ``"scgpt-mini"``.

    Returns
    -------
    pathlib.Path
        Its folder.

    Raises
    ------
    InputError
        Nothing of this name ships.
    """
    known = known_artifacts()
    if name not in known:
        msg = f"Nothing called {name!r} ships with interp; known names: {', '.join(sorted(known)) or 'none'}."
        raise InputError(msg)
    return known[name]


def known_artifacts() -> dict[str, Path]:
    """Find all models and algorithms that ship with the package.

    Returns
    -------
    dict of pathlib.Path
        Folder by name.
    """
    root = SOURCE if (SOURCE.parent / "pyproject.toml").is_file() else INSTALLED
    models = {file.parent.name: file.parent for file in root.glob(f"*/{MARKS['model']}")}
    algorithms = {file.parent.name: file.parent for file in root.glob(f"{ALGORITHMS}/*/{MARKS['algorithm']}")}
    return models | algorithms
