"""The cache: what holds in a post-norm encoder is right, and what does not is refused with its reason."""

import pytest
import torch

from interp.errors import InputError
from interp.scgpt.cache import ScGPTCache

IDS = torch.tensor([[38, 3, 5, 7, 11], [38, 4, 9, 37, 37], [38, 37, 37, 37, 37]])
BATCH = (IDS, torch.tensor([[-2.0, 1, 50, 7, -1], [-2, 12, 3, -2, -2], [-2, -2, -2, -2, -2]]), IDS == 37)


@pytest.fixture
def cache(model):
    return model.run_with_cache(*BATCH)[1]


def test_names_can_be_short_and_layers_count_from_the_end(cache):
    assert isinstance(cache, ScGPTCache)
    assert torch.equal(cache["z", 0], cache["blocks.0.attn.hook_z"])
    assert torch.equal(cache["resid_post", -1], cache["blocks.1.hook_resid_post"])
    assert torch.equal(cache["scale", 1, "ln2"], cache["blocks.1.ln2.hook_scale"])
    assert torch.equal(cache["pattern0"], cache["blocks.0.attn.hook_pattern"])
    assert "hook_embed" in cache
    assert "hook_unembed" not in cache
    assert repr(cache).startswith("ScGPTCache(55 activations, 0.")


def test_what_is_not_cached_is_refused_with_the_nearest(model):
    _, cache = model.run_with_cache(*BATCH, names_filter="*.hook_z")
    with pytest.raises(InputError, match="names_filter that selects it"):
        cache["blocks.0.attn.hook_pattern"]
    with pytest.raises(InputError, match=r"did you mean blocks\.\d\.attn\.hook_z"):
        cache["blocks.0.attn.hook_zz"]


def test_accumulated_states_are_what_each_layer_reads(model, cache):
    states, labels = cache.accumulated_resid(return_labels=True)
    assert labels == ["0_pre", "1_pre", "final_post"]
    assert states.shape == (3, 3, 5, 16)
    assert torch.equal(states[1], cache["blocks.0.hook_resid_post"])
    torch.testing.assert_close(states[-1], model(*BATCH).resid, atol=1e-6, rtol=1e-6)
    for layer, block in enumerate(model.blocks):
        torch.testing.assert_close(block(states[layer], BATCH[2]), states[layer + 1], atol=1e-6, rtol=1e-6)
    with_mid, labels = cache.accumulated_resid(incl_mid=True, return_labels=True)
    assert labels == ["0_pre", "0_mid", "1_pre", "1_mid", "final_post"]
    assert torch.equal(with_mid[1], cache["blocks.0.hook_resid_mid"])
    assert torch.equal(cache.accumulated_resid(pos_slice=0), states[:, :, 0])
    assert torch.equal(cache.accumulated_resid(1), states[:2])


def test_head_results_need_only_z_and_sum_to_their_layers_attention(model, cache):
    _, only_z = model.run_with_cache(*BATCH, names_filter="*.hook_z")
    stacked, labels = only_z.stack_head_results(return_labels=True)
    assert labels == ["L0H0", "L0H1", "L1H0", "L1H1"]
    assert stacked.shape == (4, 3, 5, 16)
    torch.testing.assert_close(stacked, cache.stack_head_results(), atol=1e-6, rtol=1e-5)
    for layer in range(2):
        total = stacked[2 * layer : 2 * layer + 2].sum(0) + model.blocks[layer].attn.b_O
        torch.testing.assert_close(total, cache["attn_out", layer], atol=1e-5, rtol=1e-5)
    assert torch.equal(only_z.stack_head_results(pos_slice=0), stacked[:, :, 0])
    assert torch.equal(only_z.stack_head_results(1), stacked[:2])
    assert list(only_z) == ["blocks.0.attn.hook_z", "blocks.1.attn.hook_z"]
    only_z.compute_head_results()
    torch.testing.assert_close(only_z["result", 1], cache["result", 1], atol=1e-6, rtol=1e-5)


def test_the_heads_of_the_first_layers_need_only_their_z(model):
    _, cache = model.run_with_cache(*BATCH, names_filter="blocks.0.attn.hook_z")
    assert cache.stack_head_results(1).shape == (2, 3, 5, 16)
    with pytest.raises(InputError, match=r"blocks\.1\.attn\.hook_z"):
        cache.stack_head_results()
    with pytest.raises(InputError, match="no head before it"):
        cache.stack_head_results(0)


def test_activations_of_all_layers_stack(cache):
    stacked = cache.stack_activation("pattern")
    assert stacked.shape == (2, 3, 2, 5, 5)
    assert torch.equal(stacked[1], cache["blocks.1.attn.hook_pattern"])
    assert cache.stack_activation("mlp_out", layer=1).shape == (1, 3, 5, 16)


def test_neurons_sum_to_their_layers_output(model, cache):
    neurons = cache.get_neuron_results(1)
    assert neurons.shape == (3, 5, 24, 16)
    total = neurons.sum(2) + model.blocks[1].mlp.linear2.bias
    torch.testing.assert_close(total, cache["mlp_out", 1], atol=1e-5, rtol=1e-5)


def test_cells_can_be_sliced(model, cache):
    _, alone = model.run_with_cache(*(part[1:] for part in BATCH))
    part = cache.apply_slice_to_batch_dim(slice(1, None))
    assert isinstance(part, ScGPTCache)
    for name, value in alone.items():
        torch.testing.assert_close(part[name], value, atol=1e-5, rtol=1e-5)
    one = cache.apply_slice_to_batch_dim(0)
    assert one["hook_cell"].shape == (16,)
    assert one.stack_head_results().shape == (4, 5, 16)
    assert one.accumulated_resid().shape == (3, 5, 16)
    with pytest.raises(InputError, match="no axis of cells"):
        one.apply_slice_to_batch_dim(0)
    assert cache.apply_slice_to_batch_dim([2, 0])["hook_cell"].shape == (2, 16)


def test_one_cell_can_be_cached_without_its_axis(model):
    one = tuple(part[:1] for part in BATCH)
    _, cache = model.run_with_cache(*one, remove_batch_dim=True)
    assert cache["pattern", 0].shape == (2, 5, 5)
    assert cache.stack_head_results().shape == (4, 5, 16)
    with pytest.raises(InputError, match="needs one cell, 3 were given"):
        model.run_with_cache(*BATCH, remove_batch_dim=True)


def test_a_cache_moves_to_a_device_and_type(model, cache):
    assert cache.to("cpu") is cache
    _, there = model.run_with_cache(*BATCH, names_filter="*.hook_z", device="cpu")
    assert there["z", 0].device.type == "cpu"
    there.cache_dict = {name: value.double() for name, value in there.items()}
    assert there.stack_head_results().dtype == torch.float64


@pytest.mark.parametrize(
    ("use", "reason"),
    [
        (lambda cache: cache.logit_lens(), "no unembedding"),
        (lambda cache: cache.logit_attrs(cache.accumulated_resid(), tokens="GATA1"), "no unembedding"),
        (lambda cache: cache.accumulated_resid(apply_ln=True), "LayerNorm already"),
        (lambda cache: cache.apply_ln_to_stack(cache.accumulated_resid()), "LayerNorm already"),
        (lambda cache: cache.decompose_resid(), "not the sum"),
        (lambda cache: cache.decompose_resid(layer=1, return_labels=True), "stack_activation"),
        (lambda cache: cache.get_full_resid_decomposition(), "not the sum"),
        (lambda cache: cache.stack_neuron_results(1), "get_neuron_results"),
        (lambda cache: cache.stack_head_results(incl_remainder=True), "not the sum"),
        (lambda cache: cache.stack_head_results(apply_ln=True), "not the sum"),
        (lambda cache: cache.compute_ssm_state(), "state-space"),
        (lambda cache: cache.compute_ssm_effective_attention(0), "state-space"),
    ],
)
def test_what_does_not_hold_after_a_layer_norm_is_refused(cache, use, reason):
    with pytest.raises(InputError, match=reason):
        use(cache)


def test_the_residual_stream_is_indeed_no_sum(model, cache):
    """The fact behind the refusals: what was written does not add up to the state."""
    written = sum(cache.stack_activation(name).sum(0) for name in ("attn_out", "mlp_out")) + cache["hook_tokens"]
    assert (written - cache["resid_post", -1]).abs().max() > 0.1


def test_a_plain_dict_can_be_asked_for(model):
    _, cache = model.run_with_cache(*BATCH, names_filter="hook_embed", return_cache_object=False)
    assert type(cache) is dict
