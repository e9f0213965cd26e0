"""What a worker needs, as files: the model and the cells, beside the store that the workers fill."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from interp.capture.work import CaptureWork
from interp.cells.genes import match_genes
from interp.cells.reader import open_cells
from interp.cells.survey import BLOCK
from interp.errors import InputError
from interp.runs.files import new_folder, write_json
from interp.runs.hashes import sha256_arrays

if TYPE_CHECKING:
    from interp.cells.reader import CellReader
    from interp.scgpt.model import HookedScGPT

FACTS, WEIGHTS, CELLS = "facts.json", "weights.safetensors", "cells.zarr"
# Seconds after which a network file system shows a new file to all of its machines.
SEEN_SECONDS = 10


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
            "cells": _place(work.reader, folder),
            "sites": [site.name for site in work.sites],
            "reduction": asdict(work.reduction),
            **{name: getattr(work, name) for name in ("dtype", "seed", "max_tokens", "precision")},
            "plan": asdict(work.plan),
        }
        write_json(aside / FACTS, facts)


def unpack(folder: Path, device: str) -> CaptureWork:
    """Read what `pack` wrote, on another machine.

    Parameters
    ----------
    folder
        The folder that was packed.
    device
        Where the model goes.

    Returns
    -------
    CaptureWork

    Raises
    ------
    InputError
        The folder or the cells cannot be seen here, or other cells stand at their path.
    """
    from interp.capture.plan import BatchPlan
    from interp.capture.reduce import Reduction
    from interp.capture.sites import measure_sites

    facts: dict[str, Any] = json.loads(_read_shared(folder / FACTS))
    reader = _open_shared(facts["cells"])
    model = _model(facts, folder / WEIGHTS, device)
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


def _place(reader: CellReader, folder: Path) -> dict[str, Any]:
    """Where a worker finds the cells, and how it knows them."""
    origin = reader.origin or {"path": str((folder / CELLS).resolve())}
    return {"origin": origin, "n_cells": len(reader), "genes": _genes_sha256(reader)}


def _genes_sha256(reader: CellReader) -> str:
    return sha256_arrays(genes=reader.genes.to_numpy(dtype=object))


def _read_shared(path: Path) -> str:
    """Read a file that was just written, maybe through a network file system that shows it a little later."""
    deadline = time.monotonic() + SEEN_SECONDS
    while not path.is_file() and time.monotonic() < deadline:
        time.sleep(0.2)
    try:
        return path.read_text()
    except OSError as error:
        msg = (
            f"cannot read {path} ({error.strerror}), which the capture has just written; the store's folder must lie "
            "on a file system that all workers share, under the same path"
        )
        raise InputError(msg) from error


def _open_shared(place: dict[str, Any]) -> CellReader:
    origin = place["origin"]
    try:
        reader = open_cells(origin["path"], layer=origin.get("layer"), gene_key=origin.get("gene_key"))
    except (InputError, OSError) as error:
        msg = f"cannot read the cells ({error}); their file must be seen by all workers, under the same path"
        raise InputError(msg) from error
    if len(reader) != place["n_cells"] or _genes_sha256(reader) != place["genes"]:
        msg = (
            f"sees other cells at {origin['path']}: {len(reader):,} cells x {len(reader.genes):,} genes, expected "
            f"{place['n_cells']:,} cells and the capture's genes; the path must name the same file everywhere"
        )
        raise InputError(msg)
    return reader


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
    """Write cells a block at a time, as a backed AnnData may be larger than the memory."""
    import anndata
    import pandas as pd
    import zarr
    from anndata.io import sparse_dataset, write_elem

    group = zarr.open_group(path, mode="w")
    blocks = (reader.counts(start, stop) for start, stop in reader.ranges(BLOCK))
    with anndata.settings.override(auto_shard_zarr_v3=False):
        write_elem(group, "var", pd.DataFrame(index=reader.genes))
        write_elem(group, "obs", pd.DataFrame(index=pd.Index(reader.names(0, len(reader)), dtype=object)))
        write_elem(group, "X", next(blocks))
        counts = sparse_dataset(group["X"])
        for block in blocks:
            counts.append(block)
