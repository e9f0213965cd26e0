"""Equality with the scgpt package on shared random weights, through the published files."""

import json
import resource
from contextlib import contextmanager

import pytest
import torch

from interp.scgpt.checkpoint import read_checkpoint, save_checkpoint
from interp.scgpt.load import load_model, untrained_like

SMALL = {"n_layers": 3, "d_model": 64, "n_heads": 4, "d_hid": 128, "n_vocab": 103}
WHOLE_HUMAN = {"n_layers": 12, "d_model": 512, "n_heads": 8, "d_hid": 512, "n_vocab": 60_697}
TOLERANCE = 2e-5
MVC_TOLERANCE = 1e-5  # relative to the largest value: MVC outputs grow with the width
MAX_MEMORY_KB = 6 * 2**20


def make_upstream(oracle, vocabulary, *, n_layers, d_model, n_heads, d_hid, n_vocab, **options):
    """Build scGPT as its own embed_data does, with norms and biases moved off their trivial initial values."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        upstream = oracle.model.TransformerModel(
            n_vocab, d_model, n_heads, d_hid, n_layers, nlayers_cls=3, n_cls=1, vocab=vocabulary, dropout=0.2,
            pad_token="<pad>", pad_value=-2, do_mvc=True, do_dab=False, use_batch_labels=False,
            use_fast_transformer=False, pre_norm=False, **options,
        )  # fmt: skip
        for parameter in upstream.parameters():
            if parameter.ndim == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
    return upstream.eval().requires_grad_(requires_grad=False)


def make_batch(n_vocab, n_tokens):
    """A full cell with masked values, a half-padded one, and one of `<cls>` alone."""
    generator = torch.Generator().manual_seed(2)
    pad, cls = n_vocab - 3, n_vocab - 2
    gene_ids = torch.stack([torch.randperm(n_vocab - 3, generator=generator)[:n_tokens] for _ in range(3)])
    values = torch.randint(1, 51, gene_ids.shape, generator=generator).float()
    values[0, 3::7] = -1
    gene_ids[:, 0], values[:, 0] = cls, -2
    for cell, length in ((1, n_tokens // 2), (2, 1)):
        gene_ids[cell, length:], values[cell, length:] = pad, -2
    return gene_ids, values, gene_ids == pad


@contextmanager
def fast_path(*, enabled):
    """torch's fused encoder leaves padded rows at zero; without it every row can be compared."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def differences(upstream, model, batch):
    """Largest absolute difference per output; for MVC relative to the largest value."""
    with torch.no_grad(), fast_path(enabled=False):
        theirs, encoded = upstream(*batch, MVC=True), upstream._encode(*batch)
        ours = model(*batch)
    mvc = theirs["mvc_output"]
    return {
        "encoder": float((ours.resid - encoded).abs().max()),
        "cell": float((ours.cell - theirs["cell_emb"]).abs().max()),
        "expression": float((ours.expression - theirs["mlm_output"]).abs().max()),
        "mvc": float((ours.mvc - mvc).abs().max() / mvc.abs().max()),
    }


def peak_memory_kb():
    """Largest memory of this process so far; other tests count too."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def assert_equal_outputs(found):
    assert max(found[name] for name in ("encoder", "cell", "expression")) < TOLERANCE, found
    assert found["mvc"] < MVC_TOLERANCE, found


@pytest.fixture(scope="module")
def small(oracle):
    return make_upstream(oracle, {"<pad>": SMALL["n_vocab"] - 3}, **SMALL)


@pytest.mark.parametrize("style", ["in_proj", "Wqkv"])
@pytest.mark.parametrize("weights", ["torch", "safetensors"])
def test_a_small_model_gives_scgpts_outputs(tmp_path, small, publish, style, weights):
    published = publish(small.state_dict(), **SMALL)
    if style == "Wqkv":
        published = published.with_flash_keys()
    model = load_model(published.write(tmp_path, weights=weights), device="cpu")
    found = differences(small, model, make_batch(SMALL["n_vocab"], 40))
    assert_equal_outputs(found)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_small_model_gives_scgpts_outputs_by_its_fused_path(tmp_path, small, publish):
    model = load_model(publish(small.state_dict(), **SMALL).write(tmp_path), device="cpu")
    batch = make_batch(SMALL["n_vocab"], 40)
    with torch.no_grad(), fast_path(enabled=True):
        encoded = small._encode(*batch)
    real = ~batch[2]
    assert float((model(*batch).resid - encoded)[real].abs().max()) < TOLERANCE


def test_the_comparison_sees_a_swap_of_two_heads(tmp_path, small, publish):
    model = load_model(publish(small.state_dict(), **SMALL).write(tmp_path), device="cpu")
    model.blocks[1].attn.W_V.copy_(model.blocks[1].attn.W_V.flip(0))
    assert differences(small, model, make_batch(SMALL["n_vocab"], 40))["encoder"] > 100 * TOLERANCE


def test_scgpts_own_loader_takes_a_saved_checkpoint_whole(tmp_path, oracle, small, publish):
    from safetensors.torch import load_file

    model = load_model(publish(small.state_dict(), **SMALL).write(tmp_path / "published"), device="cpu")
    folder = save_checkpoint(tmp_path / "saved", model, dtype="float32")
    fresh = make_upstream(oracle, oracle.tokenizer.GeneVocab.from_file(folder / "vocab.json"), **SMALL)
    fresh.load_state_dict({**fresh.state_dict(), **load_file(folder / "model.safetensors")}, strict=True)
    assert_equal_outputs(differences(fresh, model, make_batch(SMALL["n_vocab"], 40)))
    args = json.loads((folder / "args.json").read_text())
    needed = {
        "embsize",
        "nheads",
        "d_hid",
        "nlayers",
        "n_layers_cls",
        "dropout",
        "pad_token",
        "pad_value",
    }  # embed_data
    assert needed <= args.keys()


def test_untrained_weights_have_the_distribution_of_scgpts(tmp_path, oracle, publish):
    """Standard deviation and range of every weight, against an upstream model fresh from its constructor."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        upstream = oracle.model.TransformerModel(
            103, 64, 4, 128, 3, vocab={"<pad>": 100}, do_mvc=True, use_fast_transformer=False
        )
    model = load_model(publish(upstream.state_dict(), **SMALL).write(tmp_path / "a"), device="cpu")
    folder = save_checkpoint(tmp_path / "b", untrained_like(model, seed=0), dtype="float32")
    drawn = read_checkpoint(folder).state
    for name, reference in model.state_dict().items():
        low, high = (float(f(reference)) for f in (torch.min, torch.max))
        if low == high and reference.numel() > 1:
            assert torch.equal(drawn[name], reference), name
        elif reference.numel() >= 64:
            slack = 0.15 if reference.numel() < 1000 else 0.06
            assert float(drawn[name].std()) == pytest.approx(float(reference.std()), rel=2 * slack), name
            assert float(drawn[name].abs().max()) == pytest.approx(max(-low, high), rel=slack), name


def test_a_model_of_full_size_gives_scgpts_outputs(tmp_path, oracle, publish):
    """12 layers x 8 heads of width 512 over 60,697 tokens, from `best_model.pt` with both key styles."""
    memory_before = peak_memory_kb()
    upstream = make_upstream(oracle, {"<pad>": WHOLE_HUMAN["n_vocab"] - 3}, **WHOLE_HUMAN)
    published = publish(upstream.state_dict(), **WHOLE_HUMAN)
    batch = make_batch(WHOLE_HUMAN["n_vocab"], 240)
    for style in ("in_proj", "Wqkv"):
        source = published if style == "in_proj" else published.with_flash_keys()
        model = load_model(source.write(tmp_path / style), device="cpu")
        found = differences(upstream, model, batch)
        assert_equal_outputs(found)
        (tmp_path / style / "best_model.pt").unlink()
    fused = model(*batch).resid
    explicit, patterns = model.run_with_cache(*batch, names_filter=lambda name: name.endswith("hook_pattern"))
    torch.testing.assert_close(explicit.resid, fused, atol=1e-5, rtol=0)
    for pattern in patterns.values():
        torch.testing.assert_close(pattern.sum(-1), torch.ones(pattern.shape[:3]), atol=1e-5, rtol=0)
    assert peak_memory_kb() < max(MAX_MEMORY_KB, memory_before + 1)
