"""Masked-value pretraining of a small scGPT: seeded, resumable, with held-out donors and early stopping."""

from __future__ import annotations

import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save

from interp.errors import InputError
from interp.runs.files import sha256_json, write_bytes, write_csv, write_json
from interp.runs.progress import progress
from interp.runs.seeds import stream
from interp.scgpt.config import ScGPTConfig
from interp.scgpt.model import HookedScGPT
from interp.scgpt.objective import Batch, Corpus, losses, make_batch, validation_batches
from interp.scgpt.tokens import tokenize_ragged
from interp.scgpt.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

log = logging.getLogger(__name__)

WARMUP_SHARE = 0.04
GRADIENT_NORM = 1.0
BETAS = (0.9, 0.98)


@dataclass(frozen=True)
class PretrainSettings:
    """How a small scGPT is trained.

    `tokens` bounds the random subset of a cell's genes in a step (drawn anew between half of it and all of it);
    `profile_genes` is how many genes the `<cls>` row must predict; `profile_weight` balances that loss against the
    masked-value loss. `patience` counts evaluations without a better validation loss.
    """

    n_layers: int = 6
    n_heads: int = 4
    d_model: int = 128
    d_hid: int = 128
    max_tokens: int = 600
    dropout: float = 0.1
    steps: int = 4000
    batch_cells: int = 64
    tokens: int = 256
    mask_share: float = 0.4
    profile_genes: int = 256
    profile_weight: float = 1.0
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    evaluate_every: int = 100
    validation_cells: int = 512
    patience: int = 15
    seed: int = 0


def vocabulary_of(genes: list[str]) -> Vocabulary:
    """Return a vocabulary of these genes, in order, and the special tokens of scGPT."""
    return Vocabulary([*genes, "<pad>", "<cls>", "<eoc>"])


def expressed_genes(cells: AnnData, min_cells: int) -> list[str]:
    """Return the genes that at least `min_cells` cells express, sorted by name."""
    return sorted(cells.var_names[np.asarray((cells.X > 0).sum(0)).ravel() >= min_cells])


def split_panel(cells: AnnData, hold_out: Sequence[str]) -> tuple[AnnData, AnnData]:
    """Split a panel into training cells and the donors or replicates whose names contain one of `hold_out`.

    Raises
    ------
    InputError
        A name matches nothing, or nothing is left on one side.
    """
    held = np.zeros(cells.n_obs, bool)
    for name in hold_out:
        hit = np.logical_or.reduce(
            [cells.obs[column].astype(str).str.contains(name, regex=False) for column in ("donor", "replicate")]
        )
        if not hit.any():
            donors = sorted(cells.obs["donor"].astype(str).unique())
            msg = f"no donor or replicate is called {name!r}; the donors are {donors}"
            raise InputError(msg)
        held |= hit
    if held.all() or not held.any():
        msg = f"holding out {list(hold_out)} leaves {(~held).sum()} training and {held.sum()} held-out cells"
        raise InputError(msg)
    return cells[~held].copy(), cells[held].copy()


def pretrain(
    train: AnnData, held_out: AnnData, out: Path | str, *, genes: list[str], settings: PretrainSettings | None = None
) -> HookedScGPT:
    """Train a small scGPT on `train` and stop early on `held_out`.

    Parameters
    ----------
    train, held_out
        Panels of `read_cells` that share no donor (or, where the caller says so, no plate).
    out
        Folder for the learning curve and for the state of an interrupted training, which continues from there.
    genes
        Symbols of the vocabulary.
    settings
        Sizes and training choices.

    Returns
    -------
    HookedScGPT
        The model at its best validation loss, in evaluation mode.

    Raises
    ------
    InputError
        `out` holds a training with other settings or cells.
    """
    settings = settings or PretrainSettings()
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    vocabulary = vocabulary_of(genes)
    config = ScGPTConfig(
        n_vocab=len(vocabulary), n_layers=settings.n_layers, n_heads=settings.n_heads, d_model=settings.d_model,
        d_hid=settings.d_hid, max_tokens=settings.max_tokens, dropout=settings.dropout,
    )  # fmt: skip
    with torch.device("meta"):  # weights are drawn later, from the training's own stream
        model = HookedScGPT(config, vocabulary)
    trainer = _Trainer(model.to_empty(device="cpu"), settings, out)
    trainer.identify(train, held_out, genes)
    corpora = [_corpus(cells, vocabulary, config, settings.seed) for cells in (train, held_out)]
    trainer.run(*corpora)
    trainer.model.load_state_dict(load_file(out / "best.safetensors"))
    return trainer.model.eval().requires_grad_(requires_grad=False)


def _corpus(cells: AnnData, vocabulary: Vocabulary, config: ScGPTConfig, seed: int) -> Corpus:
    tokens = tokenize_ragged(cells, vocabulary, config, seed=seed, max_tokens=len(vocabulary))
    return Corpus.from_tokens(tokens, cells, len(vocabulary), vocabulary.to_mapping())


class _Trainer:
    """The training loop and its state on disk."""

    def __init__(self, model: HookedScGPT, settings: PretrainSettings, out: Path) -> None:
        self.model, self.settings, self.out = model, settings, out
        generator = torch.Generator().manual_seed(int(stream(settings.seed, "pretrain.weights").integers(2**62)))
        model.initialize(generator)
        torch.nn.init.constant_(model.decoder.fc[4].bias, model.config.n_bins / 2)
        decayed = [p for p in model.parameters() if p.ndim > 1]
        other = [p for p in model.parameters() if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": other, "weight_decay": 0.0}],
            lr=settings.learning_rate, betas=BETAS,
        )  # fmt: skip
        self.step, self.best, self.stale = 0, math.inf, 0
        self.curve: list[dict[str, float]] = []

    def identify(self, train: AnnData, held_out: AnnData, genes: list[str]) -> None:
        """Refuse a folder of another training; continue one of this training."""
        panels = [cells.uns["interp"]["panel"]["sha256"] for cells in (train, held_out)]
        identity = {"settings": asdict(self.settings), "panels": panels, "genes": sha256_json(genes)}
        path = self.out / "training.json"
        if path.exists():
            if path.read_text() != _as_text(identity):
                msg = f"{self.out} holds a training with other settings or cells; give an empty folder or the same ones"
                raise InputError(msg)
            if (self.out / "state.safetensors").exists():
                self._load()
        else:
            write_json(path, identity)

    def run(self, train: Corpus, held_out: Corpus) -> None:
        """Train until the last step or until the validation loss has not fallen for `patience` evaluations."""
        settings, special = self.settings, self._special()
        checks = validation_batches(
            held_out, seed=settings.seed, n_cells=settings.validation_cells, batch_cells=settings.batch_cells,
            n_tokens=settings.tokens, mask_share=settings.mask_share, special=special,
        )  # fmt: skip
        recent: list[tuple[float, float]] = []
        with progress(total=settings.steps, description="pretraining", unit="step") as bar:
            bar.update(self.step)
            while self.step < settings.steps and self.stale < settings.patience:
                rng = stream(settings.seed, "pretrain.batch", str(self.step))
                rows = rng.choice(len(train), settings.batch_cells, replace=False)
                n_tokens = int(rng.integers(settings.tokens // 2, settings.tokens + 1))
                batch = make_batch(
                    train, rows, rng=rng, n_tokens=n_tokens, mask_share=settings.mask_share,
                    n_profile=settings.profile_genes, special=special,
                )  # fmt: skip
                recent.append(self._update(batch, int(rng.integers(2**62))))
                self.step += 1
                bar.update(1)
                if self.step % settings.evaluate_every == 0 or self.step == settings.steps:
                    self._evaluate(checks, np.mean(recent, axis=0))
                    recent.clear()

    def _special(self) -> tuple[int, int, int]:
        vocabulary = self.model.vocabulary
        return vocabulary.pad_id, vocabulary.cls_id, self.model.config.pad_value

    def _update(self, batch: Batch, seed: int) -> tuple[float, float]:
        settings = self.settings
        warmup = max(1, round(WARMUP_SHARE * settings.steps))
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / settings.steps)))
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * min(1.0, (self.step + 1) / warmup) * max(cosine, 0.01)
        self.model.train().requires_grad_(requires_grad=True)
        with torch.random.fork_rng(devices=[]):  # dropout draws from torch's own generator
            torch.manual_seed(seed)
            masked, profile, _ = losses(self.model, batch)
        (masked + settings.profile_weight * profile).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return masked.item(), profile.item()

    @torch.no_grad()
    def _evaluate(self, checks: list[Batch], recent: np.ndarray) -> None:
        self.model.eval()
        truth = np.concatenate([b.values[b.masked].numpy() for b in checks])
        outputs = [losses(self.model, b) for b in checks]
        error = np.concatenate([o[2].cpu().numpy() for o in outputs]) - truth
        masked, profile = (float(np.mean([o[i].item() for o in outputs])) for i in (0, 1))
        r2 = 1 - float(np.mean(error**2) / np.var(truth))
        row = {
            "step": self.step,
            "train_masked": recent[0],
            "train_profile": recent[1],
            "masked": masked,
            "profile": profile,
            "r2": r2,
        }
        self.curve.append({key: float(value) for key, value in row.items()})
        total = masked + self.settings.profile_weight * profile
        log.info("step %d: held-out masked %.4f, profile %.4f, R2 %.4f", self.step, masked, profile, r2)
        if total < self.best:
            self.best, self.stale = total, 0
            write_bytes(self.out / "best.safetensors", save(_plain(self.model.state_dict())))
        else:
            self.stale += 1
        write_csv(self.out / "learning_curve.csv", pd.DataFrame(self.curve))
        self._save()

    def _save(self) -> None:
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for i, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{i}.{name}": value for name, value in state.items()}
        counters = torch.tensor([self.step, self.best, self.stale], dtype=torch.float64)
        write_bytes(self.out / "state.safetensors", save(_plain(tensors | {"counters": counters})))

    def _load(self) -> None:
        tensors = load_file(self.out / "state.safetensors")
        step, self.best, stale = tensors.pop("counters").tolist()
        self.step, self.stale = int(step), int(stale)
        model = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
        self.model.load_state_dict(model)
        state: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, key = name.split(".")
                state.setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": state})
        curve = pd.read_csv(self.out / "learning_curve.csv", float_precision="round_trip")
        self.curve = curve[curve["step"] <= self.step].to_dict("records")


def _plain(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


def _as_text(identity: dict) -> str:
    import json

    return json.dumps(identity, indent=2, sort_keys=True) + "\n"
