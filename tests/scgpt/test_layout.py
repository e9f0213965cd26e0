import torch

from interp.scgpt.layout import to_hooked, to_published
from interp.scgpt.shapes import published_shapes


def test_published_names_and_hooked_names_translate_both_ways(published, config, model):
    hooked = to_hooked(published.state, config)
    assert {name: tuple(t.shape) for name, t in hooked.items()} == {
        name: tuple(t.shape) for name, t in model.state_dict().items()
    }
    back = to_published(hooked, config)
    assert back.keys() == published.state.keys()
    assert all(torch.equal(back[name], published.state[name]) for name in back)


def test_head_one_of_the_keys_is_the_second_slice_of_the_middle_third(published, config):
    stacked = published.state["transformer_encoder.layers.1.self_attn.in_proj_weight"]  # (3 x 16, 16)
    hooked = to_hooked(published.state, config)
    assert torch.equal(hooked["blocks.1.attn.W_K"][1], stacked[16 + 8 : 16 + 16].T)
    out = published.state["transformer_encoder.layers.1.self_attn.out_proj.weight"]
    assert torch.equal(hooked["blocks.1.attn.W_O"][1], out[:, 8:16].T)


def test_without_a_profile_decoder_its_keys_are_not_expected(config):
    from dataclasses import replace

    with_it, without = published_shapes(config), published_shapes(replace(config, mvc=False))
    assert with_it.keys() - without.keys() == {
        "mvc_decoder.gene2query.weight",
        "mvc_decoder.gene2query.bias",
        "mvc_decoder.W.weight",
    }
