"""The unmodified modules of scgpt 0.2.4, importable where its own package is not.

`import scgpt` needs a compiled torchtext that no longer loads against current torch, and packages this project has
no use for. Here its sub-modules are imported one by one below empty parent packages, and `torchtext.vocab` is
replaced by the few lines of it that they use.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import logging
import sys
import warnings
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

VERSION = "0.2.4"
PARENTS = ("scgpt", "scgpt.model", "scgpt.tokenizer")


def load_scgpt() -> SimpleNamespace:
    """Import scgpt's model, tokenizer, preprocessing and collator.

    Returns
    -------
    SimpleNamespace
        Modules ``model``, ``tokenizer``, ``preprocess``, ``collator``.

    Raises
    ------
    ImportError
        scgpt is not installed, or in another version.
    """
    try:
        distribution = importlib.metadata.distribution("scgpt")
    except importlib.metadata.PackageNotFoundError as error:
        msg = f"scgpt is not installed; pip install --no-deps scgpt=={VERSION}"
        raise ImportError(msg) from error
    if distribution.version != VERSION:
        msg = f"scgpt {distribution.version} is installed; the parity is stated for {VERSION}"
        raise ImportError(msg)
    root = Path(str(distribution.locate_file("scgpt")))
    _stand_in_for_torchtext()
    for name in PARENTS:
        _empty_package(name, root.joinpath(*name.split(".")[1:]))
    sys.modules["scgpt"].logger = logging.getLogger("scGPT")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scgpt warns that flash-attn is not installed
        return SimpleNamespace(
            model=importlib.import_module("scgpt.model.model"),
            tokenizer=importlib.import_module("scgpt.tokenizer.gene_tokenizer"),
            preprocess=importlib.import_module("scgpt.preprocess"),
            collator=importlib.import_module("scgpt.data_collator"),
        )


def load_embed_data() -> Callable[..., Any]:
    """Import scgpt's own ``embed_data``, unmodified.

    Returns
    -------
    callable
        Which takes a checkpoint folder in the published layout.
    """
    modules = load_scgpt()
    root = Path(sys.modules["scgpt"].__path__[0])
    for name in ("utils", "tasks"):
        _empty_package(f"scgpt.{name}", root / name)
    sys.modules["scgpt.model"].TransformerModel = modules.model.TransformerModel
    sys.modules["scgpt.tokenizer"].GeneVocab = modules.tokenizer.GeneVocab
    # scgpt's own loader needs packages that are not installed; with a complete checkpoint it does the same
    sys.modules["scgpt.utils"].load_pretrained = _load_all
    return importlib.import_module("scgpt.tasks.cell_emb").embed_data


def _load_all(model: Any, weights: dict[str, Any], **_: object) -> None:
    model.load_state_dict({**model.state_dict(), **weights})


def _empty_package(name: str, folder: Path | None) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, is_package=True)
    module.__path__ = [] if folder is None else [str(folder)]
    sys.modules[name] = module
    return module


class _Vocab:
    """What scgpt uses of torchtext's Vocab: tokens in order, with a default for unknown ones."""

    def __init__(self, tokens: _Vocab | list[str]) -> None:
        self._tokens = list(tokens.get_itos() if isinstance(tokens, _Vocab) else tokens)
        self._index = {token: index for index, token in enumerate(self._tokens)}
        self._default: int | None = None

    @property
    def vocab(self) -> _Vocab:
        return self

    def __len__(self) -> int:
        return len(self._tokens)

    def __contains__(self, token: str) -> bool:
        return token in self._index

    def __getitem__(self, token: str) -> int:
        if token in self._index:
            return self._index[token]
        if self._default is None:
            raise RuntimeError(token)
        return self._default

    def __call__(self, tokens: list[str]) -> list[int]:
        return [self[token] for token in tokens]

    def insert_token(self, token: str, index: int) -> None:
        self._tokens.insert(index, token)
        self._index = {token: index for index, token in enumerate(self._tokens)}

    def append_token(self, token: str) -> None:
        self.insert_token(token, len(self._tokens))

    def set_default_index(self, index: int) -> None:
        self._default = index

    def get_stoi(self) -> dict[str, int]:
        return dict(self._index)

    def get_itos(self) -> list[str]:
        return list(self._tokens)


def _vocab(tokens: dict[str, int], min_freq: int = 1) -> _Vocab:
    return _Vocab([token for token, count in tokens.items() if count >= min_freq])


def _stand_in_for_torchtext() -> None:
    package = _empty_package("torchtext", None)
    module = ModuleType("torchtext.vocab")
    module.__spec__ = ModuleSpec("torchtext.vocab", None)
    module.Vocab, module.vocab = _Vocab, _vocab  # type: ignore[attr-defined]
    package.vocab = module  # type: ignore[attr-defined]
    sys.modules["torchtext.vocab"] = module
