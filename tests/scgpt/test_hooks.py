"""Names of hook points, hooks that leave nothing behind, and what hooks cost."""

import logging
import time

import pytest
import torch
from torch.nn import functional as F

from interp.errors import InputError
from interp.scgpt.attention import Attention
from interp.scgpt.config import ScGPTConfig
from interp.scgpt.hook_names import select_names
from interp.scgpt.model import HookedScGPT
from interp.scgpt.vocabulary import Vocabulary

IDS = torch.tensor([[38, 3, 5, 7, 11], [38, 4, 9, 37, 37]])
BATCH = (IDS, torch.tensor([[-2.0, 1, 50, 7, -1], [-2, 12, 3, -2, -2]]), IDS == 37)
PATTERNS = ["blocks.0.attn.hook_pattern", "blocks.1.attn.hook_pattern"]
FILTERS = {
    "pattern of text": "*.hook_pattern",
    "list": PATTERNS,
    "tuple": tuple(PATTERNS),
    "list of patterns": ["blocks.0.*_pattern", "blocks.1.attn.hook_pat*"],
    "predicate": lambda name: name.endswith("hook_pattern"),
}


def keep(value, hook):
    """A hook that changes nothing."""


def live(model):
    return sorted(model.list_hooks())


@pytest.mark.parametrize("kind", FILTERS)
def test_every_method_reads_names_in_the_same_way(model, kind):
    names = FILTERS[kind]
    assert list(model.run_with_cache(*BATCH, names_filter=names)[1]) == PATTERNS
    seen = []
    model.run_with_hooks(*BATCH, fwd_hooks=[(names, lambda value, hook: seen.append(hook.name))])
    assert seen == PATTERNS
    with model.hooks(fwd_hooks=[(names, keep)], bwd_hooks=[(names, keep)]):
        assert live(model) == PATTERNS
        assert all(len(handles) == 2 for handles in model.list_hooks(names).values())
    model.add_hook(names, keep)
    assert live(model) == PATTERNS
    model.reset_hooks()
    cache = model.add_caching_hooks(names)
    model(*BATCH)
    model.reset_hooks()
    assert list(cache) == PATTERNS


def test_none_names_all_and_a_name_names_itself(model):
    assert list(model.run_with_cache(*BATCH)[1].keys() ^ model.hook_dict.keys()) == []
    assert list(model.run_with_cache(*BATCH, names_filter="hook_embed")[1]) == ["hook_embed"]
    with model.hooks(fwd_hooks=[(None, keep)]):
        assert set(live(model)) == set(model.hook_dict)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_older_caching_methods_read_names_too(model, caplog):
    cache = {}
    with caplog.at_level(logging.ERROR):
        model.cache_some(cache, "*.hook_z")
    model(*BATCH)
    model.reset_hooks()
    assert list(cache) == ["blocks.0.attn.hook_z", "blocks.1.attn.hook_z"]


def enter(model, names):
    with model.hooks(fwd_hooks=[(names, keep)]):
        pass


@pytest.mark.parametrize(
    "use",
    [
        lambda model, names: model.run_with_cache(*BATCH, names_filter=names),
        lambda model, names: model.run_with_hooks(*BATCH, fwd_hooks=[("hook_embed", keep), (names, keep)]),
        enter,
        lambda model, names: model.add_hook(names, keep),
        lambda model, names: model.add_caching_hooks(names),
        lambda model, names: model.list_hooks(names),
    ],
)
@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("blocks.0.attn.hook_patern", "did you mean blocks.0.attn.hook_pattern"),
        (["hook_embed", "blocks.7.*"], r"no hook point 'blocks\.7\.\*'"),
        (lambda name: False, "selects none"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_and_adds_no_hook(model, use, names, message):
    with pytest.raises(InputError, match=message):
        use(model, names)
    assert live(model) == []


def test_only_the_star_is_a_wildcard():
    names = ["a.hook_q", "a.hook_k"]
    assert select_names(names, "a.hook_*") == names
    with pytest.raises(InputError):
        select_names(names, "a.hook_[qk]")
    with pytest.raises(InputError):
        select_names(names, "a.hook_?")


def fail_with_hooks(model):
    with model.hooks(fwd_hooks=[("*.hook_z", keep)]):
        msg = "on purpose"
        raise RuntimeError(msg)


def test_hooks_end_with_their_block_also_when_it_raises(model):
    with model.hooks(fwd_hooks=[("hook_embed", keep)]):
        with pytest.raises(RuntimeError, match="on purpose"):
            fail_with_hooks(model)
        assert live(model) == ["hook_embed"]
    assert live(model) == []


def test_an_inner_cached_run_leaves_outer_hooks_alone_and_sees_their_effect(model):
    with model.hooks(fwd_hooks=[("blocks.0.attn.hook_z", lambda z, hook: 0 * z)]):
        _, cache = model.run_with_cache(*BATCH, names_filter="blocks.0.*")
        assert live(model) == ["blocks.0.attn.hook_z"]
    assert (cache["blocks.0.attn.hook_z"] == 0).all()


def test_backward_hooks_that_would_never_run_are_refused(model):
    with pytest.raises(InputError, match=r"with model\.hooks"):
        model.run_with_hooks(*BATCH, bwd_hooks=[("hook_embed", keep)])


def test_the_repr_says_sizes_and_live_hooks_in_two_lines(model):
    lines = repr(model).splitlines()
    assert len(lines) == 2
    for part in ("2 layers x 2 heads", "d_model 16", "d_hid 24", "40 tokens", "parameters", "float32 on cpu"):
        assert part in lines[0]
    assert lines[1] == "live hooks: none"
    with model.hooks(fwd_hooks=[("*.hook_z", keep), ("hook_embed", keep)], bwd_hooks=[("hook_embed", keep)]):
        described = repr(model).splitlines()[1]
        assert "hook_embed: 1 forward, 1 backward" in described
        assert "blocks.*.attn.hook_z: 2 forward" in described
    with model.hooks(fwd_hooks=[("blocks.1.attn.hook_z", keep)]):
        assert repr(model).splitlines()[1] == "live hooks: blocks.1.attn.hook_z: 1 forward"


@pytest.mark.parametrize(
    ("names", "explicit"),
    [
        ("blocks.1.attn.hook_pattern", 1),
        ("blocks.0.attn.hook_attn_scores", 1),
        ("*.hook_pattern", 2),
        (["*.hook_z", "*.hook_q", "*.hook_result", "*.hook_scale", "decoder.*"], 0),
    ],
)
def test_attention_is_explicit_only_where_scores_or_patterns_are_asked_for(model, monkeypatch, names, explicit):
    calls = {"explicit": 0, "fused": 0}

    def counted(name, original):
        def call(self, *args):
            calls[name] += 1
            return original(self, *args)

        return call

    for name in calls:
        monkeypatch.setattr(Attention, f"_{name}", counted(name, getattr(Attention, f"_{name}")))
    model.run_with_cache(*BATCH, names_filter=names)
    assert calls == {"explicit": explicit, "fused": 2 - explicit}


def test_a_backward_hook_alone_makes_the_pattern_explicit(model):
    grads = []
    with model.gradients(), model.hooks(bwd_hooks=[(PATTERNS[0], lambda grad, hook: grads.append(grad.clone()))]):
        model(*BATCH).cell.sum().backward()
    assert grads[0].shape == (2, 2, 5, 5)


def test_hooks_that_only_look_leave_the_output_bit_for_bit(model):
    plain = model(*BATCH)
    looked, _ = model.run_with_cache(*BATCH, names_filter=["*.hook_z", "*.hook_resid_post", "*.mlp.*", "decoder.*"])
    assert torch.equal(looked.resid, plain.resid)
    assert torch.equal(looked.expression, plain.expression)


def test_tokens_can_be_sliced_at_every_hook_point(model):
    _, whole = model.run_with_cache(*BATCH)
    _, cls = model.run_with_cache(*BATCH, pos_slice=0)
    _, two = model.run_with_cache(*BATCH, pos_slice=[0, 2])
    for name, value in whole.items():
        if name == "hook_cell":
            expected, pair = value, value
        elif name.endswith(("hook_pattern", "hook_attn_scores")):
            expected, pair = value[:, :, :1], value[:, :, [0, 2]]
        else:
            expected, pair = value[:, :1], value[:, [0, 2]]
        assert torch.equal(cls[name], expected), name
        assert torch.equal(two[name], pair), name


@pytest.mark.slow
def test_twelve_hooks_on_z_cost_at_most_a_twentieth():
    """Against the bare fused operations in the same order, in turns, as other work on the machine comes and goes."""
    vocabulary = Vocabulary([*(f"G{i}" for i in range(2000)), "<pad>", "<cls>"])
    config = ScGPTConfig(n_vocab=2002, n_layers=12, n_heads=8, d_model=256, d_hid=256)
    model = HookedScGPT(config, vocabulary).initialize(torch.Generator().manual_seed(0)).eval()
    ids = torch.arange(600).unsqueeze(0)
    values = torch.ones(ids.shape)

    def timed(run):
        start = time.process_time()
        run()
        return time.process_time() - start

    def hooked():
        with model.hooks(fwd_hooks=[("*.hook_z", lambda z, hook: seen.append(z))]):
            model.encode(ids, values)
        seen.clear()

    seen = []
    with torch.no_grad():
        times = [
            (timed(lambda: bare_encoder(model, ids, values)), timed(lambda: model.encode(ids, values)), timed(hooked))
            for _ in range(25)
        ]
    bare, unhooked, looked = map(min, zip(*times, strict=True))
    assert looked <= 1.05 * unhooked, (bare, unhooked, looked)
    assert unhooked <= 1.05 * bare, (bare, unhooked, looked)


def bare_encoder(model, ids, values):
    """The encoder's operations without a single hook point."""
    encoder, value = model.encoder, model.value_encoder
    genes = F.layer_norm(encoder.embedding(ids), (256,), encoder.enc_norm.weight, encoder.enc_norm.bias)
    inner = value.linear2(F.relu(value.linear1(values.unsqueeze(-1).clamp(max=512))))
    x = genes + F.layer_norm(inner, (256,), value.norm.weight, value.norm.bias)
    for block in model.blocks:
        attn, mlp = block.attn, block.mlp
        weight = torch.cat([attn.W_Q, attn.W_K, attn.W_V])
        bias = torch.cat([attn.b_Q, attn.b_K, attn.b_V]).flatten()
        qkv = F.linear(x, weight.transpose(1, 2).flatten(0, 1), bias).unflatten(-1, (24, 32)).transpose(1, 2)
        z = F.scaled_dot_product_attention(*qkv.split(8, dim=1)).transpose(1, 2).flatten(2)
        x = x + F.linear(z, attn.W_O.flatten(0, 1).T, attn.b_O)
        x = F.layer_norm(x, (256,), block.ln1.weight, block.ln1.bias)
        x = x + mlp.linear2(F.relu(mlp.linear1(x)))
        x = F.layer_norm(x, (256,), block.ln2.weight, block.ln2.bias)
    return x
