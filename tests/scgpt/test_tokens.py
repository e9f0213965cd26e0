from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse

from interp.errors import InputError, VocabularyError
from interp.scgpt.tokens import bin_values, tokenize

PAD, CLS = 37, 38


def panel(counts, genes=None, names=None):
    """Raw counts as `read_cells` gives them: CSR float32, named cells and genes."""
    counts = np.asarray(counts, np.float32)
    genes = [f"GENE{i}" for i in range(counts.shape[1])] if genes is None else genes
    names = [f"study:c{i}" for i in range(len(counts))] if names is None else names
    return anndata.AnnData(
        sparse.csr_matrix(counts), obs=pd.DataFrame(index=pd.Index(names)), var=pd.DataFrame(index=pd.Index(genes))
    )


def tied_cells(n_cells=30, seed=0):
    """Cells of small counts: nearly every value is tied, and some genes are not expressed."""
    return panel(np.random.default_rng(seed).poisson(0.8, (n_cells, 37)))


def untied_cells(n_cells=30, n_genes=37, seed=0):
    """Cells whose expressed genes, at least two, all have different counts."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((n_cells, n_genes))
    for row in counts:
        expressed = rng.permutation(n_genes)[: rng.integers(2, n_genes + 1)]
        row[expressed] = rng.permutation(np.arange(1, 500))[: len(expressed)]
    return panel(counts)


def content(tokens):
    """Cell name to its real tokens, (gene id, value) in order."""
    return {
        name: [(int(g), float(v)) for g, v in zip(ids[~pad], values[~pad], strict=True)]
        for name, ids, values, pad in zip(tokens.cell_ids, tokens.gene_ids, tokens.values, tokens.padding, strict=True)
    }


def test_two_cells_by_hand(vocabulary, config):
    counts = np.zeros((2, 37))
    counts[0, [4, 1, 30]] = [5, 1, 9]
    counts[1, [2]] = [3]
    tokens = tokenize(panel(counts), vocabulary, config)
    # 50 edges at the quantiles 0, 1/49, ... 1: the median lies above the first 25 of them, the largest above all.
    assert content(tokens)["study:c0"] == [(CLS, -2), (1, 1), (4, 25), (30, 50)]
    gene, value = content(tokens)["study:c1"][1]
    assert gene == 2
    assert 1 <= value <= 50  # a single count ties with every edge
    assert tokens.gene_ids.dtype == torch.int64
    assert tokens.values.dtype == torch.float32
    assert tokens.padding.tolist() == [[False] * 4, [False, False, True, True]]
    assert tokens.gene_ids[1, 2:].tolist() == [PAD, PAD]
    assert tokens.values[1, 2:].tolist() == [-2, -2]
    assert tokens.cell_ids == ("study:c0", "study:c1")
    assert tokens.vocab_sha256 == vocabulary.sha256


def test_bins_of_untied_counts_are_the_quantile_bins():
    counts = np.arange(1, 501, dtype=np.float32)
    bins = bin_values(counts, 51, np.random.default_rng(0))
    assert bins.min() == 1
    assert bins.max() == 50
    assert (np.diff(bins) >= 0).all()
    assert np.bincount(bins)[1:].min() >= 1
    assert np.bincount(bins)[1:50].max() - np.bincount(bins)[1:50].min() <= 1


def test_tied_counts_spread_over_the_bins_they_span():
    counts = np.array([1.0] * 500 + [2.0] * 500)
    bins = bin_values(counts, 51, np.random.default_rng(0))
    assert set(bins[:500]) == set(range(1, 26))
    assert set(bins[500:]) == set(range(26, 51))


def upstream_tokens(oracle, cells, vocabulary, max_length):
    """Tokens as scGPT's embed_data makes them: expressed genes in the panel's order, then its collator."""
    collator = oracle.collator.DataCollator(
        do_padding=True, pad_token_id=PAD, pad_value=-2, do_mlm=False, do_binning=True, max_length=max_length,
        sampling=True, keep_first_n_tokens=1,
    )  # fmt: skip
    ids = vocabulary.ids(cells.var_names)
    examples = []
    for row in cells.X.toarray():
        expressed = np.nonzero(row)[0]
        genes, values = np.insert(ids[expressed], 0, CLS), np.insert(row[expressed], 0, -2)
        examples.append({"genes": torch.from_numpy(genes).long(), "expressions": torch.from_numpy(values).float()})
    batch = collator(examples)
    return batch["gene"].numpy(), batch["expr"].numpy()


def test_tokens_equal_scgpts_own_where_there_are_no_ties(oracle, vocabulary, config):
    cells = untied_cells(200)
    gene_ids, values = upstream_tokens(oracle, cells, vocabulary, 1200)
    ours = content(tokenize(cells, vocabulary, config))
    for name, theirs, bins in zip(cells.obs_names, gene_ids, values, strict=True):
        real = theirs != PAD
        assert sorted(ours[name]) == sorted(zip(theirs[real].tolist(), bins[real].tolist(), strict=True))
        assert ours[name][0] == (CLS, -2)


def test_tied_values_lie_in_the_range_of_scgpts(oracle, vocabulary, config):
    cells = tied_cells(20)
    draws = np.stack([upstream_tokens(oracle, cells, vocabulary, 1200)[1] for _ in range(100)])
    gene_ids, _ = upstream_tokens(oracle, cells, vocabulary, 1200)
    ours = content(tokenize(cells, vocabulary, config))
    for row, name in enumerate(cells.obs_names):
        low, high = draws[:, row].min(0), draws[:, row].max(0)
        value_of = dict(ours[name])
        for position in np.flatnonzero(gene_ids[row] != PAD):
            assert low[position] - 3 <= value_of[gene_ids[row, position]] <= high[position] + 3


@pytest.mark.parametrize("size", [1, 7, 29])
def test_tokens_are_identical_for_any_chunks(vocabulary, config, size):
    cells = tied_cells()
    whole = content(tokenize(cells, vocabulary, config))
    chunks = [tokenize(cells[i : i + size], vocabulary, config) for i in range(0, 30, size)]
    assert {name: tokens for chunk in chunks for name, tokens in content(chunk).items()} == whole


def test_tokens_are_identical_for_any_order_of_cells_and_genes(vocabulary, config):
    cells = tied_cells()
    whole = content(tokenize(cells, vocabulary, config))
    rng = np.random.default_rng(1)
    shuffled = cells[rng.permutation(30)][:, rng.permutation(37)].copy()
    assert content(tokenize(shuffled, vocabulary, config)) == whole


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_tokens_are_identical_for_any_number_of_workers(vocabulary, config, workers):
    cells = tied_cells()
    whole = content(tokenize(cells, vocabulary, config))
    with ThreadPoolExecutor(workers) as pool:
        parts = pool.map(lambda i: tokenize(cells[i::workers].copy(), vocabulary, config), range(workers))
        assert {name: tokens for part in parts for name, tokens in content(part).items()} == whole


def test_ties_follow_the_seed_and_the_cells_name(vocabulary, config):
    cells = tied_cells()
    one, same, other = (content(tokenize(cells, vocabulary, config, seed=seed)) for seed in (0, 0, 1))
    assert one == same
    assert one != other
    twins = panel(np.repeat(tied_cells(1).X.toarray(), 2, axis=0))
    first, second = content(tokenize(twins, vocabulary, config)).values()
    assert first != second
    np.random.seed(0)  # noqa: NPY002
    assert content(tokenize(cells, vocabulary, config)) == one


def test_a_cell_longer_than_the_limit_keeps_a_seeded_subset(vocabulary, config):
    cells = untied_cells(20)
    whole = content(tokenize(cells, vocabulary, config))
    cut = tokenize(cells, vocabulary, config, max_tokens=10)
    again, other = (tokenize(cells, vocabulary, config, max_tokens=10, seed=seed) for seed in (0, 1))
    assert cut.gene_ids.shape == (20, 10)
    assert content(cut) == content(again)
    assert content(cut) != content(other)
    for row, (name, kept) in enumerate(content(cut).items()):
        assert kept[0] == (CLS, -2)
        assert set(kept) <= set(whole[name])  # binned before the subset, as scGPT does
        assert cut.truncated[row] == (len(whole[name]) > 10)
        assert len(kept) == min(10, len(whole[name]))


def test_a_cell_of_exactly_the_limit_is_kept_whole(vocabulary, config):
    counts = np.zeros((2, 37))
    counts[0, :9], counts[1, :10] = 3, 3
    tokens = tokenize(panel(counts), vocabulary, config, max_tokens=10)
    assert tokens.truncated.tolist() == [False, True]
    assert tokens.lengths.tolist() == [10, 10]


def test_every_gene_of_a_long_cell_has_the_same_chance(vocabulary, config):
    cells = panel(np.ones((600, 37)))
    tokens = tokenize(cells, vocabulary, config, max_tokens=11)
    seen = np.bincount(tokens.gene_ids[:, 1:].numpy().ravel(), minlength=40)
    expected, sd = 600 * 10 / 37, np.sqrt(600 * (10 / 37) * (27 / 37))
    assert seen[37:].tolist() == [0, 0, 0]
    assert np.abs(seen[:37] - expected).max() < 4.5 * sd


def test_the_models_own_limit_holds(vocabulary, config):
    tokens = tokenize(panel(np.ones((2, 37))), vocabulary, replace(config, max_tokens=20))
    assert tokens.gene_ids.shape == (2, 20)


def test_an_empty_cell_is_cls_alone_and_the_model_takes_it(vocabulary, config, model, caplog):
    counts = np.zeros((3, 37))
    counts[1, :5] = [1, 2, 3, 4, 5]
    tokens = tokenize(panel(counts), vocabulary, config)
    assert tokens.lengths.tolist() == [1, 6, 1]
    assert content(tokens)["study:c0"] == [(CLS, -2)]
    assert "2 of 3 cells" in caplog.text
    assert model(tokens).cell.isfinite().all()


def test_a_panel_of_empty_cells_only_is_cls_alone(vocabulary, config):
    assert tokenize(panel(np.zeros((2, 37))), vocabulary, config).gene_ids.tolist() == [[CLS], [CLS]]


def test_genes_outside_the_vocabulary_are_reported_and_change_nothing(vocabulary, config):
    cells = tied_cells()
    counts = np.hstack([cells.X.toarray(), np.full((30, 2), 1000)])
    genes = [*cells.var_names, "LOC1", "GENE3.1"]
    tokens = tokenize(panel(counts, genes=genes), vocabulary, config)
    assert content(tokens) == content(tokenize(cells, vocabulary, config))
    assert set(tokens.match.missing) == {"LOC1", "GENE3.1"}
    assert tokens.match.count_share == pytest.approx(cells.X.sum() / counts.sum())


@pytest.mark.parametrize("name", ["<pad>", "<cls>", "<eoc>"])
def test_a_gene_named_like_a_special_token_is_not_that_token(vocabulary, config, name):
    cells = tied_cells()
    counts = np.hstack([cells.X.toarray(), np.full((30, 1), 7)])
    tokens = tokenize(panel(counts, genes=[*cells.var_names, name]), vocabulary, config)
    assert content(tokens) == content(tokenize(cells, vocabulary, config))
    assert name in tokens.match.missing


def test_stored_zeros_are_no_tokens(vocabulary, config):
    cells = tied_cells()
    stored = cells.copy()
    stored.X = sparse.csr_matrix(np.ones((30, 37), np.float32))
    stored.X.data[:] = cells.X.toarray().ravel()
    assert stored.X.nnz == 30 * 37
    assert content(tokenize(stored, vocabulary, config)) == content(tokenize(cells, vocabulary, config))
    assert stored.X.nnz == 30 * 37  # the user's matrix is left as it was


def test_ids_of_another_kind_are_refused(vocabulary, config):
    genes = [f"ENSG{i:011d}" for i in range(37)]
    with pytest.raises(VocabularyError, match="0 of 37"):
        tokenize(panel(np.ones((2, 37)), genes=genes), vocabulary, config)


def test_a_limit_without_room_for_a_gene_is_refused(vocabulary, config):
    with pytest.raises(InputError, match="max_tokens"):
        tokenize(tied_cells(), vocabulary, config, max_tokens=1)


def test_slices_keep_names_and_trim_padding(vocabulary, config):
    counts = np.zeros((4, 37))
    for row, n in enumerate((3, 9, 1, 5)):
        counts[row, :n] = np.arange(1, n + 1)
    tokens = tokenize(panel(counts), vocabulary, config)
    for index, rows in (
        (slice(2, 4), [2, 3]),
        (2, [2]),
        (-1, [3]),
        ([3, 0], [3, 0]),
        (np.array([True, False] * 2), [0, 2]),
    ):
        part = tokens[index]
        assert part.cell_ids == tuple(f"study:c{i}" for i in rows)
        assert len(part) == len(rows)
        assert part.gene_ids.shape == part.values.shape == part.padding.shape == (len(rows), part.lengths.max())
        assert content(part) == {name: content(tokens)[name] for name in part.cell_ids}


def test_a_model_reads_its_own_tokens_and_refuses_others(vocabulary, config, model):
    tokens = model.tokenize(tied_cells(3))
    direct = model(tokens.gene_ids, tokens.values, tokens.padding)
    assert torch.equal(model(tokens).cell, direct.cell)
    with pytest.raises(InputError, match="another vocabulary"):
        model(replace(tokens, vocab_sha256="0" * 64))
