"""Saving figures: png and pdf beside each other, written whole or not at all, equal bytes for equal figures."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt

from interp.figures.look import style
from interp.runs import files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 200
FORMATS = ("png", "pdf")
# No dates and no library versions: equal inputs give equal bytes.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
}


def save(figure: Figure, path: str | Path, *, close: bool = True) -> list[Path]:
    """Write a figure as png (200 dpi) and pdf.

    Parameters
    ----------
    figure
        The figure, `ax.figure` of what a figure function returned.
    path
        Where to, with or without `.png` or `.pdf`; both are written. The folder is made when missing.
    close
        Let pyplot forget the figure, so that long runs hold no memory; the object itself stays usable.

    Returns
    -------
    list of Path
        The two files.

    Examples
    --------
    >>> from interp import figures
    >>> ax = figures.null_distribution([0.1, 0.2, 0.3], 0.6)
    >>> figures.save(ax.figure, "figures/null")  # doctest: +SKIP
    [PosixPath('figures/null.png'), PosixPath('figures/null.pdf')]
    """
    path = Path(path)
    stem = path.name[:-4] if path.suffix in (".png", ".pdf") else path.name
    path.parent.mkdir(parents=True, exist_ok=True)
    written = []
    for extension in FORMATS:
        buffer = io.BytesIO()
        with style():
            figure.savefig(
                buffer,
                format=extension,
                dpi=DPI,
                metadata=METADATA[extension],
                bbox_inches="tight",
                pad_inches=0.03,
            )
        target = path.parent / f"{stem}.{extension}"
        files.write_bytes(target, buffer.getvalue())
        written.append(target)
    if close:
        plt.close(figure)
    return written
