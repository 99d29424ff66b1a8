# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn.encoding._disk_cache import EncodedModality
from sleep2vec_sklearn.encoding._pooling import fuse, fuse_summaries, pool

NAMES = ("eeg", "ecg", "ibi")


@pytest.fixture
def night():
    """Two epochs; ecg lacks the second one, ibi the whole night."""
    ones = np.ones((2, 2), np.float32)
    return {
        "eeg": EncodedModality(ones, np.array([True, True]), np.float32([1, 1])),
        "ecg": EncodedModality(3 * ones, np.array([True, False]), np.float32([3, 5])),
    }


def test_the_mean_is_over_the_modalities_an_epoch_has(night):
    rows, valid = fuse(night, NAMES, "mean")
    np.testing.assert_array_equal(rows, [[2, 2], [1, 1]])
    assert valid.all()


def test_concat_fills_missing_blocks_with_the_mean(night):
    rows, _ = fuse(night, NAMES, "concat")
    np.testing.assert_array_equal(rows, [[1, 1, 3, 3, 2, 2], [1, 1, 1, 1, 1, 1]])


def test_an_epoch_without_any_modality_takes_what_was_inferred(night):
    empty = {
        name: EncodedModality(item.tokens, np.array([True, False])) for name, item in night.items()
    }
    rows, valid = fuse(empty, NAMES, "mean")
    np.testing.assert_array_equal(rows[1], [2, 2])
    assert valid.tolist() == [True, False]


def test_fusing_leaves_the_tokens_alone(night):
    fuse(night, NAMES, "mean")[0][:] = 9
    fuse(night, NAMES[:1], "concat")[0][:] = 9
    np.testing.assert_array_equal(night["eeg"].tokens, 1)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [("mean", [2, 5]), ("max", [3, 5]), ("mean_std", [2, 5, 1, 0])],
)
def test_pooling_is_over_valid_epochs(pooling, expected):
    rows = np.float32([[1, 5], [3, 5], [100, 100]])
    pooled = pool(rows, np.array([True, True, False]), pooling)
    assert pooled.dtype == np.float32
    np.testing.assert_array_equal(pooled, expected)


@pytest.mark.parametrize(("fusion", "expected"), [("mean", [2, 3]), ("concat", [1, 1, 3, 5, 2, 3])])
def test_summaries_are_fused_as_tokens_are(night, fusion, expected):
    np.testing.assert_array_equal(fuse_summaries(night, NAMES, fusion), expected)
