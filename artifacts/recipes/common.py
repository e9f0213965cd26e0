"""What the recipes of the shipped models share: comparisons of embeddings, and model cards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from interp.baselines import model_free
from interp.capture import cell_embeddings
from interp.cells.panel import operator_genes
from interp.report.tables import markdown
from interp.runs.files import write_text
from interp.scgpt.load import untrained_like

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from interp.scgpt.model import HookedScGPT

UNTRAINED_SEEDS = (0, 1, 2)


def representations(model: HookedScGPT, train: AnnData, test: AnnData, *, width: int) -> dict:
    """Represent cells by the model, by untrained models of the same architecture, and without a model."""
    models = {"CLS, trained": model}
    models |= {f"CLS, untrained, seed {seed}": untrained_like(model, seed) for seed in UNTRAINED_SEEDS}
    found = {}
    for name, one in models.items():
        found[name] = tuple(cell_embeddings(one, one.tokenize(cells)) for cells in (train, test))
    genes = operator_genes(train, vocabulary=train.var_names, n_top=2000, extra=[test])
    return found | model_free(train, test, genes, width=width)


def pooled(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Average the rows of the untrained models."""
    names = table["representation"].str.replace(r", seed \d+", " (mean of 3)", regex=True)
    spread = table.groupby(names, sort=False)[metric].agg(["mean", "min", "max"])
    return spread.reset_index().rename(columns={"mean": metric, "representation": "representation"})


def write_card(folder: Path, title: str, sections: dict[str, str | pd.DataFrame]) -> None:
    """Write a model card, `README.md`."""
    parts = [f"# {title}"]
    for name, content in sections.items():
        parts.append(f"## {name}\n\n" + (content if isinstance(content, str) else markdown(content)))
    write_text(folder / "README.md", "\n\n".join(parts) + "\n")
