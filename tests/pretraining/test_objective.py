# SPDX-License-Identifier: BSD-3-Clause
from pathlib import Path

import numpy as np
import pytest
import torch

from sleep2vec_sklearn.pretraining import dash_info_nce_loss, dash_weights, info_nce_loss

GOLDEN = Path(__file__).parents[1] / "data" / "parity" / "info_nce.npz"


def pair(n_recordings=4, length=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, n_recordings, length, 8, generator=generator).unbind()


@pytest.mark.parametrize("temperature", [0.2, 0.07])
def test_loss_and_gradients_are_the_authors(temperature):
    with np.load(GOLDEN) as golden:
        golden = {key: torch.from_numpy(golden[key]) for key in golden.files}
    first, second = (golden[key].requires_grad_() for key in ("first", "second"))
    loss, accuracy = info_nce_loss(first, second, temperature)
    loss.backward()
    found = {"loss": loss, "acc": accuracy, "grad_first": first.grad, "grad_second": second.grad}
    for key, value in found.items():
        expected = golden[f"info_nce_T{temperature}/{key}"].float()
        torch.testing.assert_close(value.detach(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("negatives", ["recordings", "night", "both"])
def test_padding_changes_nothing(negatives):
    first, second = pair()
    expected = info_nce_loss(first, second, negatives=negatives)
    pad = torch.full((4, 3, 8), torch.nan)
    padded = [torch.cat([v, pad], dim=1).requires_grad_() for v in (first, second)]
    valid = torch.arange(9).expand(4, -1) < 6
    found = info_nce_loss(*padded, valid=valid, negatives=negatives)
    torch.testing.assert_close(found, expected)
    found[0].backward()
    assert padded[0].grad.isfinite().all()


def test_a_recording_left_out_is_no_negative():
    first, second = pair()
    valid = torch.ones(4, 6, dtype=torch.bool)
    valid[3] = False
    expected = info_nce_loss(first[:3], second[:3])
    torch.testing.assert_close(info_nce_loss(first, second, valid=valid), expected)


def test_an_example_without_negatives_does_not_count():
    first, second = pair()
    valid = torch.ones(4, 6, dtype=torch.bool)
    valid[1:, 5] = False
    expected = info_nce_loss(first[:, :5], second[:, :5])
    torch.testing.assert_close(info_nce_loss(first, second, valid=valid), expected)


def test_nothing_valid_is_a_loss_of_zero_that_can_be_followed_back():
    first, second = (v.requires_grad_() for v in pair())
    loss, accuracy = info_nce_loss(first, second, valid=torch.zeros(4, 6, dtype=torch.bool))
    loss.backward()
    assert (loss.item(), accuracy.item()) == (0.0, 0.0)
    assert torch.equal(first.grad, torch.zeros_like(first))


def test_night_negatives_are_the_other_positions():
    first, second = pair()
    turned = [v.transpose(0, 1) for v in (first, second)]
    expected = info_nce_loss(*turned, negatives="recordings")
    torch.testing.assert_close(info_nce_loss(first, second, negatives="night"), expected)


def test_both_is_the_mean_of_the_two():
    first, second = pair()
    kinds = ("recordings", "night", "both")
    recordings, night, both = (info_nce_loss(first, second, negatives=k)[0] for k in kinds)
    torch.testing.assert_close(both, (recordings + night) / 2)


def test_identical_views_are_told_apart():
    first, _ = pair()
    loss, accuracy = info_nce_loss(first, 3 * first, temperature=0.01)
    assert loss.item() < 1e-3
    assert accuracy.item() == 1.0


def test_one_recording_is_enough_for_night_negatives():
    first, second = pair(n_recordings=1)
    assert info_nce_loss(first, second, negatives="night")[0] > 0
    with pytest.raises(ValueError, match="at least two recordings"):
        info_nce_loss(first, second)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"temperature": 0.0}, "temperature"),
        ({"negatives": "all"}, "recordings"),
        ({"valid": torch.ones(4, 5, dtype=torch.bool)}, "valid"),
        ({"second": torch.zeros(4, 6, 7)}, "one shape"),
    ],
)
def test_arguments_that_cannot_be_are_refused(change, message):
    first, second = pair()
    with pytest.raises(ValueError, match=message):
        info_nce_loss(**{"first": first, "second": second, **change})


def test_arrays_in_place_of_tensors_are_named():
    views = np.ones((2, 3, 4, 5), dtype=np.float32)
    weights = dash_weights(age=[60, 61, 62])
    with pytest.raises(TypeError, match=r"first must be a Tensor.*got numpy\.ndarray"):
        info_nce_loss(*views)
    with pytest.raises(TypeError, match="second must be a Tensor"):
        dash_info_nce_loss(torch.from_numpy(views[0]), views[1], *weights)


def test_valid_may_be_an_array():
    first, second = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    valid = np.arange(12).reshape(3, 4) % 5 > 0
    found = info_nce_loss(first, second, valid=valid)
    assert found == info_nce_loss(first, second, valid=torch.from_numpy(valid))
