import numpy as np
import pytest
import torch

from interp.ablation.masking import mask_tokens
from interp.errors import InputError
from interp.scgpt.evaluate import _masks
from interp.scgpt.tokens import tokenize_ragged

from .worlds import planted_cells, planted_model


@pytest.fixture(scope="module")
def made():
    model, cells = planted_model(), planted_cells(2, 6)
    return model, cells, model.tokenize(cells)


def test_a_share_of_each_cells_genes_is_hidden_and_known(made):
    model, _, tokens = made
    masked, truth = mask_tokens(tokens, model.config, share=0.4, seed=3)
    hidden = ~truth.isnan()
    n_genes = tokens.lengths - 1
    assert hidden.sum(1).tolist() == [max(1, round(0.4 * n)) for n in n_genes]
    assert not hidden[:, 0].any()
    assert not (hidden & tokens.padding).any()
    assert (masked.values[hidden] == model.config.mask_value).all()
    assert torch.equal(truth[hidden], tokens.values[hidden])
    assert torch.equal(masked.values[~hidden], tokens.values[~hidden])


def test_the_masks_are_those_of_the_masked_value_scores(made):
    model, cells, tokens = made
    _, truth = mask_tokens(tokens, model.config, share=0.4, seed=5)
    ragged = tokenize_ragged(cells, model.vocabulary, model.config)
    own = _masks(cells, ragged.indptr, 0.4, 5)
    inside = ~tokens.padding
    inside[:, 0] = False
    np.testing.assert_array_equal((~truth.isnan())[inside].numpy(), own)


def test_a_cells_mask_does_not_depend_on_the_others(made):
    model, _, tokens = made
    one, all_of_them = mask_tokens(tokens[[4]], model.config)[1], mask_tokens(tokens, model.config)[1]
    width = one.shape[1]
    torch.testing.assert_close(one[0], all_of_them[4, :width], equal_nan=True)


@pytest.mark.parametrize("share", [0.0, 1.5, -1.0])
def test_a_share_that_hides_nothing_or_too_much_is_refused(made, share):
    model, _, tokens = made
    with pytest.raises(InputError, match="mask_share"):
        mask_tokens(tokens, model.config, share=share)
