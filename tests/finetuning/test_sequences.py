# SPDX-License-Identifier: BSD-3-Clause
import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.encoding._engine import cut_windows, merge_windows
from sleep2vec_sklearn.finetuning._network import encode_sequences
from sleep2vec_sklearn.model import Sleep2Vec


@pytest.fixture(scope="module")
def encode_alone(small_config):
    """Function of context, tokens, valid: an encoder, and what it makes of one whole sequence."""

    def build(context, with_cls):
        config = dataclasses.replace(small_config, context_epochs=context, cls=with_cls)
        encoder = Sleep2Vec.from_seed(config, 1).eval()

        def alone(tokens, valid):
            windows, mask = cut_windows(tokens, context), cut_windows(valid, context)
            hidden = encoder.encode(windows, mask)
            summary = hidden[:, 0].mean(dim=0) if with_cls else None
            hidden = hidden[:, 1:] if with_cls else hidden
            return merge_windows(hidden, len(tokens), context), summary

        return encoder, alone

    return build


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 23), min_size=1, max_size=4),
    st.integers(1, 9),
    st.booleans(),
    st.integers(0, 99),
)
def test_nights_side_by_side_are_encoded_as_each_alone(
    encode_alone, lengths, context, with_cls, seed
):
    encoder, alone = encode_alone(context, with_cls)
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths)
    tokens = torch.randn(len(lengths), longest, 24, generator=generator)
    valid = torch.rand(len(lengths), longest, generator=generator) < 0.7
    valid &= torch.arange(longest) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        states, cls = encode_sequences(encoder, tokens, valid, torch.tensor(lengths), (2,))
        for row, length in enumerate(lengths):
            here = valid[row, :length]
            if not here.any():
                assert states[row].eq(0).all()
                continue
            expected, summary = alone(tokens[row, :length], here)
            found = states[row, :length, 0]
            torch.testing.assert_close(found[here], expected[here], rtol=0, atol=1e-5)
            if with_cls:
                torch.testing.assert_close(cls[row, 0], summary, rtol=0, atol=1e-5)


def test_bfloat16_gives_about_the_same_and_finite_gradients(encode_alone, draw):
    encoder, _ = encode_alone(8, True)
    tokens = draw(2, 20, 24).requires_grad_()
    valid, lengths = torch.ones(2, 20, dtype=torch.bool), torch.tensor([20, 20])
    expected, _ = encode_sequences(encoder, tokens, valid, lengths, (1, 2))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, cls = encode_sequences(encoder, tokens, valid, lengths, (1, 2))
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.1)
    (found.sum() + cls.sum()).backward()
    assert tokens.grad.isfinite().all()
