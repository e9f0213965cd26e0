from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from interp.capture.forward import forward
from interp.errors import InputError


@pytest.fixture
def batch(model, mixed):
    return model.tokenize(mixed)[:5]


def test_readers_see_what_the_cache_holds_and_nothing_after_the_stop(model, batch):
    seen = {}
    names = ["hook_embed", "blocks.0.attn.hook_pattern", "blocks.1.attn.hook_z", "blocks.2.hook_resid_post"]
    readers = {name: lambda x, name=name: seen.setdefault(name, x.clone()) for name in names}
    forward(model, batch, readers, stop_at="blocks.1.attn.hook_z")
    assert list(seen) == names[:3]
    with torch.no_grad():
        _, cache = model.run_with_cache(batch)
    for name, value in seen.items():
        torch.testing.assert_close(value, cache[name], atol=1e-6, rtol=1e-5)
        assert not value.requires_grad


def test_without_a_stop_the_decoders_run(model, batch):
    seen = []
    forward(model, batch, {"mvc_decoder.hook_out": lambda x: seen.append(x.shape)}, stop_at=None)
    assert seen == [batch.gene_ids.shape]


def test_what_a_reader_returns_changes_nothing(model, batch):
    seen = []
    forward(model, batch, {"hook_embed": lambda x: x * 0, "hook_cell": seen.append}, stop_at="hook_cell")
    with torch.no_grad():
        torch.testing.assert_close(seen[0], model(batch).cell)


def test_products_have_the_precision_asked_for_and_readers_their_own(model, batch):
    seen = {}

    def read(x):
        seen["type"], seen["product"] = x.dtype, (torch.ones(2, 2) @ torch.ones(2, 2)).dtype

    forward(model, batch, {"blocks.0.attn.hook_q": read}, stop_at=None, precision=torch.bfloat16)
    assert seen == {"type": torch.bfloat16, "product": torch.float32}


def test_a_readers_error_leaves_no_hook(model, batch):
    with pytest.raises(ZeroDivisionError):
        forward(model, batch, {"hook_embed": lambda _: 1 / 0}, stop_at="hook_embed")
    assert not any(point.has_hooks() for point in model.hook_dict.values())


def test_tokens_of_another_vocabulary_are_refused(model, batch):
    with pytest.raises(InputError, match="another vocabulary"):
        forward(model, replace(batch, vocab_sha256="other"), {}, stop_at=None)
