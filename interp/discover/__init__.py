"""The main job: from cells and a model to heads, a compact algorithm, gates, matched controls and a verdict."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.biology import Ruler, StageGraph
from interp.discover.extraction import FOLDER, Extraction
from interp.discover.job import Job
from interp.discover.panels import Panels, embedded_panels
from interp.discover.settings import EMBEDDED, DiscoverSettings, ExtractSettings
from interp.errors import InputError
from interp.runs.folder import RunFolder
from interp.runs.workers import one_thread_each
from interp.scgpt.load import load_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from anndata import AnnData

    from interp.scgpt.model import HookedScGPT

__all__ = ["EMBEDDED", "DiscoverSettings", "ExtractSettings", "Panels", "discover", "embedded_panels", "extract"]

DEFAULT_MODEL = "scgpt-sim"


def discover(
    model: HookedScGPT | str | Path = DEFAULT_MODEL,
    cells: AnnData | None = None,
    *,
    external: AnnData | None = None,
    negative: AnnData | None = None,
    out: str | Path,
    settings: DiscoverSettings | None = None,
    graph: StageGraph | None = None,
    ruler: Ruler | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> Path:
    """Find the heads that hold the stage order, extract them, and measure whether the model deserves the credit.

    Parameters
    ----------
    model
        A model, a checkpoint folder, or `scgpt-mini` or `scgpt-sim`.
    cells
        Panel from `read_cells`; the embedded simulated atlas when None.
    external
        Panel of other donors that the frozen algorithm is tried on.
    negative
        Panel of non-hematopoietic cells; cells that the stage graph knows are left out.
    out
        Run folder; an interrupted run continues there.
    settings
        Sizes of the job.
    graph
        Stage graph; hematopoiesis by default. Branches and depths always come from it.
    ruler
        Distances between stages that latents are held to; hops of the graph by default.
    inputs
        Where model and cells came from, noted in `config.json`; no result depends on it.

    Returns
    -------
    pathlib.Path
        The run folder, with `summary.md`, `verdict.json`, `algorithm/`, tables and figures.

    Raises
    ------
    InputError
        Panels share cells, the external one shares donors with the internal one, too little of a panel maps to the
        graph, or the ruler lacks a stage of a panel.
    """
    settings = settings or (EMBEDDED if cells is None else DiscoverSettings())
    panels = None if cells is None else Panels(cells, external, negative)
    return _run(Job, out, model, panels, settings, graph, ruler, inputs)


def extract(
    run: str | Path,
    model: HookedScGPT | str | Path = DEFAULT_MODEL,
    cells: AnnData | None = None,
    *,
    external: AnnData | None = None,
    negative: AnnData | None = None,
    graph: StageGraph | None = None,
    ruler: Ruler | None = None,
    programs: Mapping[str, Sequence[str]] | None = None,
    inputs: Mapping[str, Any] | None = None,
    **sizes: Any,
) -> Path:
    """Go on from a run of `discover`: keep its operators, compact them, take them apart, trace them to genes.

    Parameters
    ----------
    run
        Folder of a run; what it lacks is made first.
    model, cells, external, negative, graph, ruler, inputs
        As the run was given them.
    programs
        Gene programs, name to genes, that factors are named by; the project's own by default.
    **sizes
        Fields of `interp.discover.settings.ExtractSettings`.

    Returns
    -------
    pathlib.Path
        ``extraction/`` in the run folder, with `extraction.md`, tables, operators and figures.

    Raises
    ------
    InputError
        There is no such run, the panel has one donor, or as in `discover`.
    """
    config = Path(run) / "config.json"
    if not config.is_file():
        msg = f"{run} is no run of interp discover (it has no config.json); run that first, or give its folder"
        raise InputError(msg)
    settings = ExtractSettings.of(json.loads(config.read_text(encoding="utf-8"))["settings"], **sizes)
    panels = None if cells is None else Panels(cells, external, negative)
    return _run(partial(Extraction, programs=programs), run, model, panels, settings, graph, ruler, inputs) / FOLDER


def _run(
    job: Callable[..., Job],
    out: str | Path,
    model: HookedScGPT | str | Path,
    panels: Panels | None,
    settings: DiscoverSettings,
    graph: StageGraph | None,
    ruler: Ruler | None,
    inputs: Mapping[str, Any] | None,
) -> Path:
    graph = graph or StageGraph.hematopoiesis()
    ruler = ruler or Ruler.hops(graph)
    if isinstance(model, str | Path):
        name, model = Path(model).name, load_model(model)  # no path of a machine goes into results
    else:
        name = "model in memory"
    # Several pieces of work at a time beat several threads in one, and keep every sum in one order.
    with one_thread_each():
        panels = panels or embedded_panels()
        config = {"model": name, "settings": asdict(settings), "panels": panels.hashes, "ruler": ruler.identity}
        config |= {} if inputs is None else {"inputs": dict(inputs)}
        with RunFolder.open(out, config) as folder:
            job(folder, model, panels, settings=settings, graph=graph, ruler=ruler, name=name).run()
    return Path(out)
