from __future__ import annotations

import pytest
import torch

from interp.capture.sites import Site, find_sites, measure_sites
from interp.errors import InputError
from interp.scgpt.config import ScGPTConfig
from interp.scgpt.model import HookedScGPT


def test_words_name_hook_points_in_the_order_of_the_model(model):
    every = [f"blocks.{layer}.hook_resid_post" for layer in range(3)]
    for words in ("resid_post", "hook_resid_post", "*.hook_resid_post", ["resid_post"], every[::-1], iter(every)):
        assert find_sites(model, words) == every
    assert find_sites(model, "embed") == find_sites(model, "hook_embed") == ["hook_embed"]
    assert find_sites(model, "z", [2, 0]) == ["blocks.0.attn.hook_z", "blocks.2.attn.hook_z"]
    assert find_sites(model, "attn.hook_z", 1) == find_sites(model, "attn.z", 1) == ["blocks.1.attn.hook_z"]
    assert find_sites(model, "mlp.post", range(2)) == ["blocks.0.mlp.hook_post", "blocks.1.mlp.hook_post"]
    assert find_sites(model, "blocks.1.mlp.post") == ["blocks.1.mlp.hook_post"]
    assert find_sites(model, "cell", 0) == ["hook_cell"]


@pytest.mark.parametrize(
    ("word", "options"),
    [
        ("scale", "'encoder.enc_norm.scale', 'ln1.scale', 'ln2.scale'"),
        ("hook_scale", "'ln1.hook_scale'"),
        ("in", "'ln1.in'"),
        ("out", "'decoder.fc.out', 'mvc_decoder.out'"),
    ],
)
def test_an_ambiguous_word_lists_words_that_are_not(model, word, options):
    with pytest.raises(InputError, match=f"{word!r} is ambiguous here; give one of .*{options}"):
        find_sites(model, word)
    for option in options.split(", "):
        assert find_sites(model, option.strip("'"))


def test_decoders_have_short_names(model):
    assert find_sites(model, "decoder.fc.out") == ["decoder.fc.hook_out"]
    assert find_sites(model, "mvc_decoder.out") == ["mvc_decoder.hook_out"]
    assert find_sites(model, "post_0") == ["decoder.fc.hook_post_0"]
    assert find_sites(model, "query_pre") == ["mvc_decoder.hook_query_pre"]


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("resid_pots", "blocks.0.hook_resid_post"),
        ("atn.z", "blocks.0.attn.hook_z"),
        ("hook_patern", "blocks.0.attn.hook_pattern"),
        ("blocks.7.attn.hook_z", "blocks.0.attn.hook_z"),
        ("mlp.psot", "blocks.0.mlp.hook_post"),
        ("blocks.*.nothing", "lists all|did you mean"),
    ],
)
def test_an_unknown_word_suggests_the_nearest(model, word, near):
    with pytest.raises(InputError, match=near):
        find_sites(model, word)


@pytest.mark.parametrize("layers", [3, -1, [0, 5], [], "01", [0.5], 1.5])
def test_layers_that_do_not_exist_are_refused(model, layers):
    with pytest.raises(InputError, match="this model has layers 0 to 2"):
        find_sites(model, "z", layers)


def test_a_site_outside_the_layers_is_refused(model):
    with pytest.raises(InputError, match=r"'blocks\.1\.attn\.hook_z' lies in none of the layers \[0, 2\]"):
        find_sites(model, ["embed", "blocks.1.attn.hook_z"], [0, 2])


@pytest.mark.parametrize(("d_model", "n_heads"), [(16, 2), (35, 5), (35, 7), (20, 4)])
def test_every_site_has_its_shape_whatever_the_widths(model, d_model, n_heads):
    config = ScGPTConfig(n_vocab=33, n_layers=2, n_heads=n_heads, d_model=d_model, d_hid=7, mvc=True)
    other = HookedScGPT(config, model.vocabulary).initialize(torch.Generator().manual_seed(0)).eval()
    sites = {site.name: site for site in measure_sites(other, list(other.hook_dict))}
    assert set(sites) == set(other.hook_dict)
    d_head = d_model // n_heads
    assert sites["blocks.1.attn.hook_q"] == Site("blocks.1.attn.hook_q", (None, n_heads, d_head))
    assert sites["blocks.1.attn.hook_pattern"].shape == (n_heads, None, None)
    assert sites["blocks.1.attn.hook_pattern"].per_pair
    assert sites["blocks.1.mlp.hook_post"].shape == (None, 7)
    assert sites["blocks.1.attn.hook_result"].width == n_heads * d_model
    assert sites["hook_cell"].shape == (d_model,)
    assert not sites["hook_cell"].per_token
    assert sites["decoder.fc.hook_out"].shape == (None,)
    assert sites["decoder.fc.hook_out"].per_token


def test_sites_come_in_the_order_in_which_they_arise(model):
    names = ["blocks.1.attn.hook_z", "hook_cell", "hook_embed", "blocks.1.attn.hook_pattern"]
    assert [site.name for site in measure_sites(model, names)] == [
        "hook_embed",
        "blocks.1.attn.hook_pattern",
        "blocks.1.attn.hook_z",
        "hook_cell",
    ]
