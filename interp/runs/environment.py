"""What a run stood on: the versions of Python, the package and the libraries that make its numbers."""

import platform
from importlib.metadata import PackageNotFoundError, version

from interp import __version__

LIBRARIES = (
    "anndata",
    "numpy",
    "pandas",
    "scanpy",
    "scikit-learn",
    "scipy",
    "torch",
    "transformer-lens",
    "zarr",
)


def environment() -> dict[str, str]:
    """Name the versions behind a result.

    Returns
    -------
    dict of str
        Version by name; libraries that are not installed are left out.
    """
    versions = {"interp": __version__, "python": platform.python_version(), "machine": platform.machine()}
    for library in LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions
