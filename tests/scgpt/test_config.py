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
@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"input_emb_style": "scaling", "mvc_style": "concat query", "batch_norm": "batchnorm"},
        {"input_emb_style": "category", "n_input_bins": 23, "pad_value": 21, "mask_value": 22},
        {"batch_norm": "dsbn", "batch_encoder": True, "n_batches": 4, "explicit_zero_prob": True},
    ],
)
def test_args_written_are_args_read(mvc, parts):
    plain = {"n_bins": 21, "max_tokens": 99, "pad_value": -3, "dropout": 0.5, "mvc": mvc}
    config = ScGPTConfig(n_vocab=40, n_layers=2, n_heads=2, d_model=16, d_hid=24, **plain | parts)
    assert ScGPTConfig.from_args(config.to_args(), 40, mvc=mvc) == config


def test_parts_that_a_model_lacks_are_not_written():
    args = ScGPTConfig.from_args(WHOLE_HUMAN, 60_697, mvc=True).to_args()
    assert not args.keys() & {"n_input_bins", "num_batch_labels", "explicit_zero_prob", "mvc_decoder_style"}


@pytest.mark.parametrize("name", ["explicit_zero_prob", "use_batch_labels"])
def test_a_decoder_that_scgpt_cannot_run_is_refused(name):
    args = {**WHOLE_HUMAN, "mvc_decoder_style": "sum query", name: True, "num_batch_labels": 2}
    with pytest.raises(CheckpointError, match="cannot compute either"):
        ScGPTConfig.from_args(args, 60_697, mvc=True)


def test_batches_without_their_number_are_refused():
    with pytest.raises(CheckpointError, match="num_batch_labels = 0"):
        ScGPTConfig.from_args({**WHOLE_HUMAN, "domain_spec_batchnorm": "dsbn"}, 60_697, mvc=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"nheads": 7}, "nheads = 7"), ({"nlayers": 0}, "nlayers"), ({"input_emb_style": "category"}, "category")],
)
def test_what_is_no_such_model_is_refused(changed, message):
    with pytest.raises(CheckpointError, match=message):
        ScGPTConfig.from_args({**WHOLE_HUMAN, **changed}, 60_697, mvc=True)
