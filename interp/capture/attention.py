"""Attention of any heads between the genes of a panel, summed over cells in one pass; no per-cell map is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.capture.accumulator import Accumulator
from interp.capture.forward import forward
from interp.capture.parts import token_parts
from interp.capture.plan import pass_plan
from interp.capture.reduce import check_distinct
from interp.errors import InputError
from interp.runs.progress import progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interp.capture.sums import AttentionSums
    from interp.cells.reader import Cells
    from interp.scgpt.model import HookedScGPT
    from interp.scgpt.tokens import GeneTokens


def attention_sums(
    model: HookedScGPT,
    cells: GeneTokens | Cells,
    genes: Sequence[str],
    *,
    heads: Sequence[tuple[int, int]] | None = None,
    value_weighted: bool = False,
    lift: bool = False,
    seed: int = 0,
    max_tokens: int | None = None,
    description: str = "attention",
) -> AttentionSums:
    """Sum the attention of heads between genes of a panel, over cells, in one pass.

    Memory grows with heads x genes x genes, not with cells.

    Parameters
    ----------
    model
        The model.
    cells
        Tokens made by this model on all the genes that their study measured; or cells as for `interp.capture`, which
        are read, tokenised and forgotten part by part.
    genes
        The panel; every gene must be in the vocabulary, and stand there once.
    heads
        Layer and head of those that are summed; None sums all.
    value_weighted
        Sum the patterns times the norm of the value that each key moves, too.
    lift
        Sum the patterns times the number of tokens of the cell, too: attention thins out in longer cells.
    seed, max_tokens
        Of the tokens, where cells are given.
    description
        What the progress line says.

    Returns
    -------
    AttentionSums
        `sum` is (layer, head, gene, gene), or (chosen, gene, gene); rows attend to columns.

    Raises
    ------
    VocabularyError
        A gene is not in the model's vocabulary.
    InputError
        A head or gene is given twice or not at all, a head does not exist, or the cells are no raw counts.

    Examples
    --------
    >>> import interp
    >>> model = interp.load_model("scgpt-sim")
    >>> cells = interp.simulate(n_donors=2, n_cells=20, seed=1)
    >>> interp.attention_sums(model, cells, ["CD34", "GATA1"], heads=[(2, 1)])
    AttentionSums(1 heads, 2 genes, 20 cells)
    """
    chosen = check_heads(model, heads)
    check_genes(model, genes)
    accumulator = Accumulator(model, genes, chosen, value_weighted=value_weighted, lift=lift)
    plan = pass_plan(model.config, model.device.type, patterns=True)
    tokens, n_cells = token_parts(model, cells, plan, seed=seed, max_tokens=max_tokens)
    with progress(total=n_cells, description=description, unit="cell") as bar:
        for part in tokens:
            for rows in plan.batches(part.lengths):
                add_batch(model, part[rows], accumulator)
                bar.update(len(rows))
    return accumulator.result(None if heads is None else chosen)


def add_batch(model: HookedScGPT, batch: GeneTokens, accumulator: Accumulator) -> None:
    """Run the model on one batch and add its patterns."""
    accumulator.locate(batch)
    readers = accumulator.readers()
    forward(model, batch, readers, stop_at=f"blocks.{accumulator.last_layer}.attn.hook_pattern")


def check_genes(model: HookedScGPT, genes: Sequence[str]) -> None:
    """Refuse a panel that sums cannot be made for.

    Raises
    ------
    VocabularyError
        A gene is not in the vocabulary.
    InputError
        A gene is given twice, none is given, or the panel is a text.
    """
    if isinstance(genes, str) or not len(genes):
        msg = f"genes = {genes!r}; give a list of at least one gene of the vocabulary"
        raise InputError(msg)
    model.vocabulary.ids(genes)
    check_distinct(genes)


def check_heads(model: HookedScGPT, heads: Sequence[tuple[int, int]] | None) -> tuple[tuple[int, int], ...]:
    """Return the chosen heads, all of them when None.

    Raises
    ------
    InputError
        A head does not exist or is given twice, or none is given.
    """
    n_layers, n_heads = model.config.n_layers, model.config.n_heads
    if heads is None:
        return tuple((layer, head) for layer in range(n_layers) for head in range(n_heads))
    chosen = tuple((int(layer), int(head)) for layer, head in heads)
    odd = [f"L{layer}H{head}" for layer, head in chosen if not (0 <= layer < n_layers and 0 <= head < n_heads)]
    if odd or not chosen or len(set(chosen)) < len(chosen):
        what = f"{odd} do not exist" if odd else "a head is given twice" if chosen else "no head is given"
        msg = f"heads: {what}; this model has layers 0 to {n_layers - 1} and heads 0 to {n_heads - 1}"
        raise InputError(msg)
    return chosen
