"""The main job: from cells and a model to heads, a compact algorithm, gates, matched controls and a verdict."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.biology import Ruler, StageGraph
from interp.discover.job import Job
from interp.discover.panels import Panels, embedded_panels
from interp.discover.settings import EMBEDDED, DiscoverSettings
from interp.runs.folder import RunFolder
from interp.runs.workers import one_thread_each
from interp.scgpt.load import load_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anndata import AnnData

    from interp.scgpt.model import HookedScGPT

__all__ = ["EMBEDDED", "DiscoverSettings", "Panels", "discover", "embedded_panels"]

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
    graph = graph or StageGraph.hematopoiesis()
    ruler = ruler or Ruler.hops(graph)
    settings = settings or (EMBEDDED if cells is None else DiscoverSettings())
    if isinstance(model, str | Path):
        name, model = Path(model).name, load_model(model)  # no path of a machine goes into results
    else:
        name = "model in memory"
    # Several pieces of work at a time beat several threads in one, and keep every sum in one order.
    with one_thread_each():
        panels = embedded_panels() if cells is None else Panels(cells, external, negative)
        config = {"model": name, "settings": asdict(settings), "panels": panels.hashes, "ruler": ruler.identity}
        config |= {} if inputs is None else {"inputs": dict(inputs)}
        with RunFolder.open(out, config) as folder:
            Job(folder, model, panels, settings=settings, graph=graph, ruler=ruler, name=name).run()
    return Path(out)
