import pytest

from interp.errors import CheckpointError
from interp.scgpt.config import ScGPTConfig

WHOLE_HUMAN = {
    "embsize": 512,
    "nheads": 8,
    "d_hid": 512,
    "nlayers": 12,
    "n_layers_cls": 3,
    "n_bins": 51,
    "max_seq_len": 1200,
    "pad_token": "<pad>",
    "pad_value": -2,
    "mask_value": -1,
    "dropout": 0.2,
    "input_emb_style": "continuous",
    "fast_transformer": True,
}


def test_the_published_args_give_the_published_model():
    config = ScGPTConfig.from_args(WHOLE_HUMAN, 60_697, mvc=True)
    assert (config.n_layers, config.n_heads, config.d_model, config.d_hid, config.d_head) == (12, 8, 512, 512, 64)
    assert (config.n_bins, config.max_tokens, config.pad_value, config.mask_value) == (51, 1200, -2, -1)
    assert config.n_vocab == 60_697
    assert config.mvc


def test_only_the_sizes_are_required():
    args = {name: WHOLE_HUMAN[name] for name in ("embsize", "nheads", "d_hid", "nlayers")}
    assert ScGPTConfig.from_args(args, 60_697, mvc=True) == ScGPTConfig.from_args(WHOLE_HUMAN, 60_697, mvc=True)


@pytest.mark.parametrize("mvc", [True, False])
def test_args_written_are_args_read(mvc):
    config = ScGPTConfig(
        n_vocab=40, n_layers=2, n_heads=2, d_model=16, d_hid=24, n_bins=21, max_tokens=99, pad_value=-3, dropout=0.5,
        mvc=mvc,
    )  # fmt: skip
    assert ScGPTConfig.from_args(config.to_args(), 40, mvc=mvc) == config


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"nheads": 7}, "nheads = 7"), ({"nlayers": 0}, "nlayers"), ({"input_emb_style": "category"}, "category")],
)
def test_what_is_no_such_model_is_refused(changed, message):
    with pytest.raises(CheckpointError, match=message):
        ScGPTConfig.from_args({**WHOLE_HUMAN, **changed}, 60_697, mvc=True)
