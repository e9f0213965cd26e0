"""Which scGPT checkpoints can be fetched: their files with sizes and sums, and where copies of them lie."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from interp.errors import InputError


class PublishedFile(NamedTuple):
    """A file of a published checkpoint: its name, size in bytes and SHA-256 (64 hex digits)."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class PublishedModel:
    """A checkpoint that others publish.

    Attributes
    ----------
    name
        As the command line calls it.
    files
        What the checkpoint's folder holds.
    mirrors
        Addresses of folders with these files, in the order in which they are tried. They need no trust: the sums
        decide.
    page
        Where a person can get the files with a browser.
    """

    name: str
    files: tuple[PublishedFile, ...]
    mirrors: tuple[str, ...]
    page: str


# Sizes and sums: the copies in the Google Drive folder that scGPT's README links and in the repository of the authors'
# group on the Hugging Face hub are the same bytes.
SCGPT_HUMAN = PublishedModel(
    name="scgpt-human",
    files=(
        PublishedFile("args.json", 1_300, "c18e075e018140cb8b2d9029387b9de26607a5ce6a8ccabd6ead70cd76b95d60"),
        PublishedFile("vocab.json", 1_317_639, "acca93d114ca62c3f0f50debbd23e8c87f0714f4737764454f6b2b13f2e8580f"),
        PublishedFile("best_model.pt", 205_385_258, "6cb5d451ab5c4b33eb673adbe4fddc61d2389df1b89b7651a9fe2e557572b922"),
    ),
    mirrors=(
        # The authors' group, pinned to a revision.
        "https://huggingface.co/wanglab/scGPT-human/resolve/a24c237737a40f3720f75abb555489e9fe753be6",
        # s3://czi-scgenept-public/models/pretrained/scgpt, which scGenePT's README names as the whole-human weights.
        "https://czi-scgenept-public.s3.amazonaws.com/models/pretrained/scgpt",
    ),
    # "whole-human" in the model zoo of scGPT's README.
    page="https://drive.google.com/drive/folders/1oWh_-ZRdhtoGQ2Fw24HP41FgLoomVo-y",
)
PUBLISHED = {model.name: model for model in (SCGPT_HUMAN,)}


def published_model(name: str) -> PublishedModel:
    """Return a published checkpoint by its name.

    Parameters
    ----------
    name
        Such as ``"scgpt-human"``.

    Raises
    ------
    InputError
        No checkpoint of this name is known; the message lists those that are.

    Examples
    --------
    >>> [file.name for file in published_model("scgpt-human").files]
    ['args.json', 'vocab.json', 'best_model.pt']
    """
    if name not in PUBLISHED:
        msg = f"no model {name!r} can be downloaded; known names: {', '.join(sorted(PUBLISHED))}"
        raise InputError(msg)
    return PUBLISHED[name]


def published_name(sha256: str) -> str | None:
    """Return ``"model/file"`` for the sum of a published file, None for any other.

    Parameters
    ----------
    sha256
        64 hex digits.
    """
    found = (f"{m.name}/{file.name}" for m in PUBLISHED.values() for file in m.files if file.sha256 == sha256)
    return next(found, None)
