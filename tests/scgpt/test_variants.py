"""Equality with the scgpt package for every kind of model that it can build, from files and from live models."""

from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file

from interp.errors import CheckpointError, InputError
from interp.scgpt.checkpoint import read_checkpoint, save_checkpoint
from interp.scgpt.load import load_model, untrained_like
from interp.scgpt.model import HookedScGPT
from interp.scgpt.vocabulary import Vocabulary

SIZES = {"n_layers": 2, "d_model": 32, "n_heads": 4, "d_hid": 48, "n_vocab": 53}
TOLERANCE = 2e-5
N_BATCHES = 3

# Of each kind: what its constructor takes.
CATEGORY = {"input_emb_style": "category", "n_input_bins": 53, "pad_value": 51}
BATCHES = {"use_batch_labels": True, "num_batch_labels": N_BATCHES}
INTEGRATION = {**BATCHES, "domain_spec_batchnorm": True, "explicit_zero_prob": True}
KINDS = {
    "category": CATEGORY,
    "scaling": {"input_emb_style": "scaling"},
    "dsbn": {"domain_spec_batchnorm": True, "num_batch_labels": N_BATCHES},
    "dsbn by name": {"domain_spec_batchnorm": "dsbn", "num_batch_labels": N_BATCHES},
    "batch norm": {"domain_spec_batchnorm": "batchnorm"},
    "no norm at all": {"domain_spec_batchnorm": "do_affine"},
    "batch labels": BATCHES,
    "zeros": {"explicit_zero_prob": True},
    "fine-tuned for integration": {**INTEGRATION, "do_dab": True},
    "all at once": {**CATEGORY, **INTEGRATION},
    "detached": {"mvc_decoder_style": "inner product, detach"},
    "concat query": {"mvc_decoder_style": "concat query"},
    "sum query": {"mvc_decoder_style": "sum query"},
}
AS_FOUND = ("category", "scaling", "dsbn", "fine-tuned for integration", "concat query")


@pytest.fixture
def make_upstream(oracle):
    """Build scGPT with every weight and statistic off its trivial initial value."""

    def make(**options):
        generator = torch.Generator().manual_seed(7)
        options = {"pad_value": -2, "do_mvc": True, **options}
        upstream = oracle.model.TransformerModel(
            SIZES["n_vocab"], SIZES["d_model"], SIZES["n_heads"], SIZES["d_hid"], SIZES["n_layers"],
            vocab={"<pad>": SIZES["n_vocab"] - 3}, dropout=0.2, use_fast_transformer=False, **options,
        )  # fmt: skip
        for name, tensor in upstream.state_dict().items():
            if tensor.is_floating_point():
                tensor.normal_(0, 0.2 if tensor.ndim == 2 else 0.4, generator=generator)
                if name.endswith("running_var"):
                    tensor.abs_().add_(0.3)
                elif name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "bn.weight")):
                    tensor.add_(1.0)
        return upstream.eval().requires_grad_(requires_grad=False)

    return make


def make_batch(options):
    """Three cells: a full one with masked values, a half-padded one, and one of `<cls>` alone."""
    generator = torch.Generator().manual_seed(2)
    pad_value, mask_value = (51, 52) if options.get("input_emb_style") == "category" else (-2, -1)
    gene_ids = torch.stack([torch.randperm(50, generator=generator)[:20] for _ in range(3)])
    values = torch.randint(1, 51, gene_ids.shape, generator=generator).float()
    values[0, 3::7] = mask_value
    gene_ids[:, 0], values[:, 0] = 51, pad_value
    for cell, length in ((1, 10), (2, 1)):
        gene_ids[cell, length:], values[cell, length:] = 50, pad_value
    return gene_ids, values, gene_ids == 50


@contextmanager
def every_row():
    """torch's fused encoder leaves padded rows at zero; without it every row can be compared."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def upstream_outputs(upstream, batch, label):
    """The package's outputs, by our names, with all cells of one batch as it wants them."""
    wants_labels = upstream.use_batch_labels or upstream.domain_spec_batchnorm
    labels = torch.full((3,), label) if wants_labels else None
    hidden = upstream.mvc_decoder.arch_style in ("concat query", "sum query")
    with torch.no_grad(), every_row():
        resid = upstream._encode(*batch, labels)
        found = upstream(*batch, labels, MVC=not hidden)
        # The package's own forward cannot read what these two decoders return.
        mvc = upstream.mvc_decoder(resid[:, 0], upstream.cur_gene_token_embs) if hidden else found["mvc_output"]
    return {
        "resid": resid, "cell": found["cell_emb"], "expression": found["mlm_output"], "mvc": mvc,
        "expression_nonzero": found.get("mlm_zero_probs"), "mvc_nonzero": found.get("mvc_zero_probs"),
    }  # fmt: skip


def assert_equal_outputs(model, upstream, batch):
    for label in range(N_BATCHES if model.config.needs_batches else 1):
        batches = torch.full((3,), label) if model.config.needs_batches else None
        ours = model(*batch, batches=batches)
        for name, theirs in upstream_outputs(upstream, batch, label).items():
            found = getattr(ours, name)
            if theirs is None:
                assert found is None, name
            else:
                scale = max(1.0, float(theirs.abs().max()))
                assert float((found - theirs).abs().max()) < TOLERANCE * scale, (name, label)


def args_of(options):
    """What an args.json says of a kind, in the words of the constructor."""
    special = {"mask_value": 52} if options.get("input_emb_style") == "category" else {}
    return special | {name: value for name, value in options.items() if name != "do_dab"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_of_every_kind_gives_scgpts_outputs(tmp_path, make_upstream, publish, kind):
    options = KINDS[kind]
    upstream, batch = make_upstream(**options), make_batch(options)
    published = publish(upstream.state_dict(), **SIZES)
    published.args.update(args_of(options))
    model = load_model(published.write(tmp_path / "published"), device="cpu")
    assert_equal_outputs(model, upstream, batch)

    saved = save_checkpoint(tmp_path / "saved", model, dtype="float32")
    again = load_model(saved, device="cpu")
    assert again.config == model.config
    assert read_checkpoint(saved).report.extra == ()
    assert_equal_outputs(again, upstream, batch)
    weights = {name: tensor for name, tensor in load_file(saved / "model.safetensors").items()}
    assert all(torch.equal(upstream.state_dict()[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("kind", AS_FOUND)
def test_the_weights_tell_the_kind_where_args_do_not(tmp_path, make_upstream, publish, kind):
    """scGPT's fine-tuning scripts save args.json under other names, or none; only a scaling model has to say so."""
    options = KINDS[kind]
    upstream = make_upstream(**options)
    published = publish(upstream.state_dict(), **SIZES)
    for name in ("input_emb_style", "pad_value", "mask_value"):
        del published.args[name]
    if kind == "scaling":
        with pytest.raises(CheckpointError, match=r"missing: value_encoder\.linear1\.weight"):
            load_model(published.write(tmp_path), device="cpu")
    else:
        assert_equal_outputs(load_model(published.write(tmp_path), device="cpu"), upstream, make_batch(options))


@pytest.mark.parametrize("kind", ["as published", *KINDS])
def test_a_live_model_of_every_kind_is_wrapped(make_upstream, publish, tmp_path, kind):
    options = KINDS.get(kind, {})
    upstream, batch = make_upstream(**options), make_batch(options)
    published = publish(upstream.state_dict(), **SIZES)
    wrapped = HookedScGPT.from_scgpt(upstream, vocabulary=published.mapping)
    assert_equal_outputs(wrapped, upstream, batch)
    published.args.update(args_of(options))
    loaded = load_model(published.write(tmp_path), device="cpu")
    assert wrapped.config == loaded.config
    assert wrapped.vocabulary == loaded.vocabulary
    states = wrapped.state_dict(), loaded.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_wrapped_model_shares_no_weights_and_is_frozen(make_upstream, publish):
    upstream = make_upstream()
    mapping = publish(upstream.state_dict(), **SIZES).mapping
    wrapped = HookedScGPT.from_scgpt(upstream.train(), Vocabulary.from_mapping(mapping), n_bins=21, max_tokens=99)
    assert (wrapped.config.n_bins, wrapped.config.max_tokens) == (21, 99)
    assert upstream.training
    assert not wrapped.training
    assert not any(parameter.requires_grad for parameter in wrapped.parameters())
    before = [parameter.clone() for parameter in wrapped.parameters()]
    for parameter in upstream.parameters():
        parameter.add_(1.0)
    assert all(torch.equal(old, new) for old, new in zip(before, wrapped.parameters(), strict=True))


def test_the_packages_own_vocabulary_is_taken(oracle, make_upstream, publish, tmp_path):
    upstream = make_upstream()
    folder = publish(upstream.state_dict(), **SIZES).write(tmp_path)
    vocabulary = oracle.tokenizer.GeneVocab.from_file(folder / "vocab.json")
    wrapped = HookedScGPT.from_scgpt(upstream, vocabulary)
    assert wrapped.vocabulary == Vocabulary.read(folder / "vocab.json")


def test_pre_norm_without_flash_attention_is_post_norm_and_wrapped_as_such(make_upstream, publish):
    upstream = make_upstream(pre_norm=True)
    wrapped = HookedScGPT.from_scgpt(upstream, publish(upstream.state_dict(), **SIZES).mapping)
    assert_equal_outputs(wrapped, upstream, make_batch({}))


def test_pre_norm_of_flash_attention_is_refused(make_upstream, publish):
    upstream = make_upstream()
    upstream.transformer_encoder.layers[0].norm_scheme = "pre"  # as its flash layers say it
    with pytest.raises(InputError, match="cannot be wrapped: it has pre_norm = True"):
        HookedScGPT.from_scgpt(upstream, publish(upstream.state_dict(), **SIZES).mapping)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"cell_emb_style": "avg-pool"}, "cell_emb_style"), ({"cell_emb_style": "w-pool"}, "<cls>")],
)
def test_a_live_model_of_another_kind_is_refused(make_upstream, publish, options, message):
    upstream = make_upstream(**options)
    with pytest.raises(InputError, match=message):
        HookedScGPT.from_scgpt(upstream, publish(upstream.state_dict(), **SIZES).mapping)


def test_what_does_not_fit_a_live_model_is_refused(make_upstream, publish):
    upstream = make_upstream()
    mapping = publish(upstream.state_dict(), **SIZES).mapping
    with pytest.raises(InputError, match="not scGPT's TransformerModel"):
        HookedScGPT.from_scgpt(torch.nn.Linear(2, 2), mapping)
    with pytest.raises(InputError, match="vocabulary holds 54"):
        HookedScGPT.from_scgpt(upstream, {**mapping, "GENE50": 53})
    moved = {**mapping, "<pad>": mapping["GENE0"], "GENE0": mapping["<pad>"]}
    with pytest.raises(InputError, match="<pad> as 50, the vocabulary holds 53 with <pad> as 0"):
        HookedScGPT.from_scgpt(upstream, moved)
    with pytest.raises(InputError, match="a list is no vocabulary"):
        HookedScGPT.from_scgpt(upstream, list(mapping))
    with pytest.raises(InputError, match="n_bin is no convention"):
        HookedScGPT.from_scgpt(upstream, mapping, n_bin=3)


def test_each_cell_is_normed_by_its_own_batch(make_upstream, publish):
    """Where the package takes the first cell's batch for all, a mixed call equals the package's calls apart."""
    upstream, batch = make_upstream(**KINDS["fine-tuned for integration"]), make_batch({})
    model = HookedScGPT.from_scgpt(upstream, publish(upstream.state_dict(), **SIZES).mapping)
    mixed = model(*batch, batches=torch.tensor([2, 0, 1]))
    for cell, label in enumerate((2, 0, 1)):
        theirs = upstream_outputs(upstream, batch, label)
        for name in ("resid", "expression", "mvc", "mvc_nonzero"):
            torch.testing.assert_close(getattr(mixed, name)[cell], theirs[name][cell], atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        (None, "give batches="),
        (torch.tensor([0, 1]), "expected 3 whole numbers from 0 to 2"),
        (torch.tensor([0, 1, 3]), "from 0 to 2"),
        (torch.tensor([0, 1, -1]), "from 0 to 2"),
        (torch.tensor([0.0, 1, 2]), "whole numbers"),
    ],
)
def test_batches_that_do_not_fit_are_refused(make_upstream, publish, batches, message):
    upstream = make_upstream(**KINDS["dsbn"])
    model = HookedScGPT.from_scgpt(upstream, publish(upstream.state_dict(), **SIZES).mapping)
    with pytest.raises(InputError, match=message):
        model(*make_batch({}), batches=batches)


def test_batches_for_a_model_without_them_are_refused(model):
    with pytest.raises(InputError, match="trained without them"):
        model(torch.tensor([[38, 3]]), torch.ones(1, 2), batches=torch.tensor([0]))


def test_a_value_without_a_category_is_refused(make_upstream, publish):
    upstream = make_upstream(**CATEGORY)
    model = HookedScGPT.from_scgpt(upstream, publish(upstream.state_dict(), **SIZES).mapping)
    assert (model.config.pad_value, model.config.mask_value) == (51, 52)
    with pytest.raises(InputError, match="from -2 to 50; this model embeds the bins 0 to 52"):
        model(torch.tensor([[51, 3]]), torch.tensor([[-2.0, 50]]))


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        ("scaling", {"input_emb_style": "log"}, "'continuous', 'category', 'scaling'"),
        ("scaling", {"input_emb_style": "category"}, "value_encoder.embedding.weight"),
        ("category", {"input_emb_style": "scaling"}, "the weights are those of 'category'"),
        ("category", {"pad_value": -2}, "pad_value = -2"),
        ("category", {"pre_norm": True}, "flash-attention layers only"),
        ("category", {"cell_emb_style": "avg-pool"}, "a cell's row is <cls>"),
        ("category", {"fast_transformer_backend": "linear"}, "no patterns"),
        ("scaling", {"domain_spec_batchnorm": True}, "the weights are those of 'none'"),
        ("batch norm", {"domain_spec_batchnorm": "dsbn"}, "the weights are those of 'batchnorm'"),
    ],
)
def test_args_that_contradict_the_weights_or_name_another_model_are_refused(
    tmp_path, make_upstream, publish, kind, changed, message
):
    published = publish(make_upstream(**KINDS[kind]).state_dict(), **SIZES)
    published.args.update(args_of(KINDS[kind]) | changed)
    with pytest.raises(CheckpointError, match=message):
        read_checkpoint(published.write(tmp_path))


@pytest.mark.parametrize(
    ("kind", "lost"),
    [
        ("dsbn", "dsbn.bns.1.running_var"),
        ("batch norm", "bn.bias"),
        ("category", "value_encoder.enc_norm.weight"),
    ],
)
def test_a_missing_part_of_the_encoder_is_refused_by_name(tmp_path, make_upstream, publish, kind, lost):
    published = publish(make_upstream(**KINDS[kind]).state_dict(), **SIZES)
    published.args.update(args_of(KINDS[kind]))
    del published.state[lost]
    with pytest.raises(CheckpointError, match=f"missing: {lost}"):
        read_checkpoint(published.write(tmp_path))


def test_a_lost_zero_head_leaves_the_values_whole(tmp_path, make_upstream, publish):
    upstream = make_upstream(**KINDS["zeros"])
    published = publish(upstream.state_dict(), **SIZES)
    del published.state["decoder.zero_logit.2.bias"]
    model = load_model(published.write(tmp_path), device="cpu")
    output = model(*make_batch({}))
    assert output.expression_nonzero.isnan().all()
    assert output.expression.isfinite().all()
    assert output.mvc_nonzero.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_model_of_every_kind_runs_and_is_seeded(make_upstream, publish, kind):
    upstream, batch = make_upstream(**KINDS[kind]), make_batch(KINDS[kind])
    model = HookedScGPT.from_scgpt(upstream, publish(upstream.state_dict(), **SIZES).mapping)
    one, same = untrained_like(model, 1), untrained_like(model, 1)
    batches = torch.zeros(3, dtype=torch.int64) if model.config.needs_batches else None
    assert torch.equal(one(*batch, batches=batches).resid, same(*batch, batches=batches).resid)
    assert one(*batch, batches=batches).expression.isfinite().all()
