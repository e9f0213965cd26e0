"""The common look of all figures: sizes, fonts, a colour-blind-safe palette, titles and legends outside the data."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.transforms import Bbox, offset_copy

from interp.errors import InputError

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar

COLUMN = 3.5
"""Width of one journal column in inches (89 mm, Nature and Cell Press)."""
PAGE = 7.2
"""Width of a whole page in inches (183 mm)."""

TITLE_SIZE, TEXT_SIZE, SMALL_SIZE, TINY_SIZE = 8.0, 7.0, 6.0, 5.5
"""Font sizes in points; journals ask for 5 to 8 at printed size."""
CHARACTER_WIDTH = 0.56
"""Mean width of a character of DejaVu Sans in em, for wrapping."""
BOLD_WIDTH = 0.64
"""The same for its bold face."""

INK, SOFT, FAINT = "#222222", "#6B6B6B", "#D9D9D9"
OBSERVED, REFERENCE = "#0072B2", "#D55E00"

# Okabe & Ito (2008), "Color universal design", without the yellow that vanishes on white; grey for stem cells.
BRANCH_COLOURS = ("#555555", "#D55E00", "#E69F00", "#CC79A7", "#0072B2", "#009E73", "#56B4E9")
"""Colours of the stage graph's branches, in the graph's order of branches."""
DONOR_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#7A5C00", "#555555")
STUDY_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">")
UNKNOWN = "#BDBDBD"

RC: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs everywhere
    "font.size": TEXT_SIZE,
    "axes.titlesize": TITLE_SIZE,
    "axes.labelsize": TEXT_SIZE,
    "xtick.labelsize": SMALL_SIZE,
    "ytick.labelsize": SMALL_SIZE,
    "legend.fontsize": SMALL_SIZE,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.2,
    "hatch.linewidth": 0.5,
    "hatch.color": INK,
    "image.cmap": "viridis",
    "axes.unicode_minus": True,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "pdf.fonttype": 42,  # text stays editable text
}


class Graph(Protocol):
    """What a figure asks of a stage graph (`interp.biology.StageGraph`)."""

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of all stages."""

    @property
    def branches(self) -> tuple[str, ...]:
        """Names of the branches."""

    def parent(self, stage: str, /) -> str | None:
        """Name the stage above; None for the root."""


@contextmanager
def style() -> Iterator[None]:
    """Draw in the project's look; the user's matplotlib settings return afterwards.

    Examples
    --------
    >>> from interp import figures
    >>> with figures.style():
    ...     pass
    """
    with mpl.rc_context(RC):
        yield


def axes_for(ax: Axes | None, width: float, height: float) -> Axes:
    """Give the Axes to draw on: the given one, or that of a new figure of `width` x `height` inches."""
    if ax is None:
        ax = plt.figure(figsize=(width, height), layout="constrained").add_subplot()
    ax.tick_params(labelsize=SMALL_SIZE)
    return ax


def branch_colours(graph: Graph) -> dict[str, str]:
    """Give each branch of a stage graph its fixed colour.

    Parameters
    ----------
    graph
        The stage graph; the colour follows its order of branches, not what a panel happens to hold.

    Returns
    -------
    dict
        Branch to hex colour; branches after the seventh repeat the palette.
    """
    return {branch: BRANCH_COLOURS[i % len(BRANCH_COLOURS)] for i, branch in enumerate(graph.branches)}


def study_markers(studies: Iterable[str]) -> dict[str, str]:
    """Give each study a marker, by name and not by the order of rows.

    Parameters
    ----------
    studies
        Study per row or distinct studies.

    Returns
    -------
    dict
        Study to matplotlib marker; after the tenth study the markers repeat.
    """
    names = sorted({str(study) for study in studies})
    return {study: STUDY_MARKERS[i % len(STUDY_MARKERS)] for i, study in enumerate(names)}


def donor_looks(donors: Sequence[str], studies: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Give each donor a colour and a fill, and the marker of its study.

    Parameters
    ----------
    donors, studies
        Donor and study, one of each per row.

    Returns
    -------
    dict
        Donor to `color`, `marker`, `filled`. Inside a study eight colours filled come first, then the same eight
        open; after sixteen donors they repeat.
    """
    markers = study_markers(studies)
    pairs = sorted({(str(study), str(donor)) for donor, study in zip(donors, studies, strict=True)}, key=_natural)
    looks: dict[str, dict[str, Any]] = {}
    seen: dict[str, int] = {}
    for study, donor in pairs:
        k = seen.get(study, 0)
        seen[study] = k + 1
        filled = (k // len(DONOR_COLOURS)) % 2 == 0
        looks[donor] = {"color": DONOR_COLOURS[k % len(DONOR_COLOURS)], "marker": markers[study], "filled": filled}
    return looks


def _natural(names: tuple[str, ...]) -> list[list[tuple[bool, int, str]]]:
    # donor_2 before donor_10
    return [
        [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in re.split(r"(\d+)", name)]
        for name in names
    ]


def require_columns(table: pd.DataFrame, columns: Sequence[str], *, what: str) -> None:
    """Raise `InputError` when a table lacks a column, naming what there is."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        msg = f"{what} lacks the column(s) {', '.join(missing)}; it has {', '.join(map(str, table.columns))}."
        raise InputError(msg)


def wrap(text: str, width: int, *, lines: int | None = None) -> str:
    """Wrap to `width` characters; what does not fit into `lines` ends in an ellipsis."""
    parts = textwrap.wrap(str(text), max(width, 8), break_on_hyphens=False) or [""]
    if lines is not None and len(parts) > lines:
        parts = [*parts[: lines - 1], textwrap.shorten(" ".join(parts[lines - 1 :]), max(width, 8), placeholder=" …")]
    return "\n".join(parts)


def number(value: float | None, *, digits: int = 2) -> str:
    """Write a number, or the words "not computable"."""
    if value is None or not np.isfinite(value):
        return "not computable"
    return f"{value:.{digits}f}".replace("-", "\u2212")


def p_words(p: float | None, *, at_floor: bool = False) -> str:
    """Write a p-value; one at its floor is the smallest that the number of draws can give, and says so."""
    if p is None or not np.isfinite(p):
        return "p not computable"
    return f"p = {p_number(p)}" + (" (its floor)" if at_floor else "")


def p_number(p: float) -> str:
    """Write a p-value with two digits that count."""
    return np.format_float_positional(p, 2, fractional=False, trim="-")


def percent(share: float) -> str:
    """Write a share as "43 %"."""
    return f"{100 * share:.0f} %"


def count(n: int, noun: str) -> str:
    """Write "1 donor", "2 donors"."""
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def without_unit(label: str) -> str:
    """Start a title with a label, its unit in brackets left out: "order (Spearman)" gives "Order"."""
    text = re.sub(r"\s*\([^)]*\)$", "", label)
    return text[:1].upper() + text[1:]


def side_bar(ax: Axes, image: ScalarMappable, **options: Any) -> Colorbar:
    """Put a colour bar close to the right edge of the data, whatever title and legend measure."""
    bar = ax.get_figure(root=True).colorbar(image, cax=ax.inset_axes((1.025, 0.0, 0.045, 1.0)), **options)
    bar.ax.tick_params(labelsize=SMALL_SIZE, length=2)
    bar.outline.set_linewidth(0.5)
    return bar


def surround(
    ax: Axes, title: str, note: str = "", handles: Sequence[Artist] = (), *, columns: int | None = None
) -> None:
    """Write title and note above and the legend below, flush with the left edge of everything drawn.

    Comes after all that is drawn on the Axes, tick labels included: they are measured here. The legend takes as many
    columns as fit unless told how many.
    """
    lay_out(ax)
    box = _outside(ax)
    width = _room(ax, box)
    if handles:
        _legend_below(ax, handles, box, width, columns)
    y = box.y1 + 3
    if note:
        text = "\n".join(wrap(line, int(width / (CHARACTER_WIDTH * SMALL_SIZE))) for line in note.split("\n"))
        _at_corner(ax, text, (box.x0, y), size=SMALL_SIZE, color=SOFT, gid="note")
        y += 1.25 * SMALL_SIZE * (text.count("\n") + 1) + 1
    if title:
        text = wrap(title, int(width / (BOLD_WIDTH * TITLE_SIZE)))
        _at_corner(ax, text, (box.x0, y), size=TITLE_SIZE, color=INK, weight="bold", gid="title")


def text_of(ax: Axes, gid: str) -> str:
    """Give the title ("title") or the note ("note") that `surround` wrote, on one line."""
    found = [text.get_text() for text in ax.texts if text.get_gid() == gid]
    return " ".join(" ".join(found).split())


def canvas_scale(ax: Axes) -> float:
    """Give the number of points in one pixel of the figure."""
    return 72.0 / float(ax.get_figure(root=True).dpi)


def lay_out(ax: Axes) -> None:
    """Let the layout settle, so that positions can be measured."""
    figure = ax.get_figure(root=True)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    ax.apply_aspect()
    ax.get_xlim()  # limits follow the data only when asked for


def _outside(ax: Axes) -> Bbox:
    # The panel's extent beyond its data area in points: x0, y0 <= 0 (left, below), x1 beyond the right, y1 above.
    tight, data, scale = ax.get_tightbbox(), ax.get_window_extent(), canvas_scale(ax)
    if tight is None:
        return Bbox.from_extents(0, 0, 0, 0)
    return Bbox.from_extents(
        min(tight.x0 - data.x0, 0) * scale,
        min(tight.y0 - data.y0, 0) * scale,
        max(tight.x1 - data.x1, 0) * scale,
        max(tight.y1 - data.y1, 0) * scale,
    )


def _legend_below(ax: Axes, handles: Sequence[Artist], box: Bbox, width: float, columns: int | None) -> None:
    widest = max(len(str(handle.get_label())) for handle in handles)
    fitting = max(1, int(width / (CHARACTER_WIDTH * SMALL_SIZE * widest + 3.2 * SMALL_SIZE)))
    ax.legend(
        handles=list(handles),
        ncols=columns or min(fitting, len(handles)),
        loc="upper left",
        bbox_to_anchor=(0, 0),
        bbox_transform=offset_copy(ax.transAxes, ax.get_figure(root=True), x=box.x0, y=box.y0 - 2, units="points"),
        borderaxespad=0,
        borderpad=0,
        handlelength=1.2,
        handletextpad=0.5,
        columnspacing=1.0,
        labelspacing=0.35,
        fontsize=SMALL_SIZE,
        frameon=False,
        alignment="left",
    )


def _room(ax: Axes, box: Bbox) -> float:
    # Points from the panel's left edge to the right edge of the figure, or of the panel when others stand beside it.
    figure, data, scale = ax.get_figure(root=True), ax.get_window_extent(), canvas_scale(ax)
    alone = len([other for other in figure.axes if other not in ax.child_axes]) == 1
    right = figure.bbox.x1 if alone else data.x1 + box.x1 / scale
    return max((right - data.x0) * scale - box.x0 - 4, 60.0)


def _at_corner(ax: Axes, text: str, offset: tuple[float, float], *, gid: str, **look: Any) -> None:
    ax.annotate(
        text,
        (0, 1),
        xycoords="axes fraction",
        xytext=offset,
        textcoords="offset points",
        ha="left",
        va="bottom",
        annotation_clip=False,
        linespacing=1.25,
        gid=gid,
        **look,
    )


def tidy(values: Mapping[str, float] | None) -> dict[str, float]:
    """Copy a mapping of numbers as floats, None as NaN."""
    return {str(key): float("nan") if value is None else float(value) for key, value in (values or {}).items()}
