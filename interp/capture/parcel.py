"""What a worker needs, as files: the model and the cells, beside the store that the workers fill."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from interp.capture.work import CaptureWork
from interp.cells.genes import match_genes
from interp.cells.reader import open_cells
from interp.runs.files import new_folder, write_json

if TYPE_CHECKING:
    from interp.cells.reader import CellReader
    from interp.scgpt.model import HookedScGPT

FACTS, WEIGHTS, CELLS = "facts.json", "weights.safetensors", "cells.zarr"


def pack(work: CaptureWork, folder: Path) -> None:
    """Write a capture's model and cells where every worker can read them; cells that have a file stay there.

    Parameters
    ----------
    work
        The capture.
    folder
        Folder on a file system that all workers share; replaced.
    """
    from safetensors.torch import save_file

    with new_folder(folder) as aside:
        state = {name: value.detach().cpu().contiguous() for name, value in work.model.state_dict().items()}
        save_file(state, aside / WEIGHTS)
        if work.reader.origin is None:
            _write_counts(work.reader, aside / CELLS)
        facts = {
            "config": asdict(work.model.config),
            "vocabulary": work.model.vocabulary.to_mapping(),
            "cells": work.reader.origin or {"path": str((folder / CELLS).resolve())},
            "sites": [site.name for site in work.sites],
            "reduction": asdict(work.reduction),
            **{name: getattr(work, name) for name in ("dtype", "seed", "max_tokens", "precision")},
            "plan": asdict(work.plan),
        }
        write_json(aside / FACTS, facts)


def unpack(folder: Path, device: str) -> CaptureWork:
    """Read what `pack` wrote, the model on a device (``auto``: CUDA where there is one)."""
    from interp.capture.plan import BatchPlan
    from interp.capture.reduce import Reduction
    from interp.capture.sites import measure_sites

    facts: dict[str, Any] = json.loads((folder / FACTS).read_text())
    model = _model(facts, folder / WEIGHTS, device)
    place = facts["cells"]
    reader = open_cells(place["path"], layer=place.get("layer"), gene_key=place.get("gene_key"))
    reduction = facts["reduction"] | {"genes": tuple(facts["reduction"]["genes"])}
    return CaptureWork(
        model=model,
        reader=reader,
        match=match_genes(reader.genes, model.vocabulary.genes),
        sites=tuple(measure_sites(model, facts["sites"])),
        reduction=Reduction(**reduction),
        plan=BatchPlan(**facts["plan"]),
        **{name: facts[name] for name in ("dtype", "seed", "max_tokens", "precision")},
    )


def _model(facts: dict[str, Any], weights: Path, device: str) -> HookedScGPT:
    from safetensors.torch import load_file

    from interp.scgpt.config import ScGPTConfig
    from interp.scgpt.load import choose_device
    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.vocabulary import Vocabulary

    with torch.device("meta"):
        model = HookedScGPT(ScGPTConfig(**facts["config"]), Vocabulary.from_mapping(facts["vocabulary"]))
    model.load_state_dict(load_file(weights), assign=True)
    model.requires_grad_(requires_grad=False)
    return model.to(choose_device(device)).eval()


def _write_counts(reader: CellReader, path: Path) -> None:
    import anndata
    import pandas as pd

    obs = pd.DataFrame(index=pd.Index(reader.names(0, len(reader)), dtype=object))
    var = pd.DataFrame(index=reader.genes)
    with anndata.settings.override(zarr_write_format=3, auto_shard_zarr_v3=False):
        anndata.AnnData(X=reader.counts(0, len(reader)), obs=obs, var=var).write_zarr(path)
