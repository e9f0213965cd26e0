"""What makes a model this model: one hash over its weights, sizes and vocabulary."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from interp.runs.hashes import sha256_arrays, sha256_json

if TYPE_CHECKING:
    from interp.scgpt.model import HookedScGPT


def model_sha256(model: HookedScGPT) -> str:
    """Hash a model; returns 64 hex digits, independent of its device and of the file it came from."""
    weights = {name: value.detach().cpu().float().numpy() for name, value in model.state_dict().items()}
    facts = {"config": asdict(model.config), "vocabulary": model.vocabulary.sha256}
    return sha256_json(facts | {"weights": sha256_arrays(**weights)})
