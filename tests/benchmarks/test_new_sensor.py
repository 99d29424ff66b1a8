# SPDX-License-Identifier: BSD-3-Clause
"""What the benchmark of a new sensor compares."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.new_sensor import (
    CONDITIONING,
    NEW,
    OLD,
    activity_features,
    retrieval_differences,
    stage_differences,
)
from sleep2vec_sklearn import Recording


def night(beats=0.9, n_epochs=20):
    random = np.random.default_rng(0)
    counts = random.poisson(2, n_epochs * 30).astype(float)
    signals = {"ibi": (np.full(n_epochs * 120, beats), 4), "actigraphy": (counts, 1)}
    return Recording(signals, id="n0", subject="s0")


@pytest.mark.parametrize(("with_time", "width"), [(False, 3), (True, 7)])
def test_the_baseline_sees_actigraphy_alone(with_time, width):
    features = activity_features(with_time)
    (slow,), (fast,) = features([night(0.9)]), features([night(0.7)])
    assert slow.shape == (20, width)
    assert np.isfinite(slow).all()
    np.testing.assert_array_equal(slow, fast)


def test_the_encoder_before_reads_no_actigraphy_and_the_one_after_a_value_per_epoch():
    assert NEW not in OLD
    assert CONDITIONING.width == 1


def test_a_stage_is_compared_with_the_untrained_tokenizer_subject_by_subject():
    subjects = [f"s{k}" for k in range(8)]
    base = pd.DataFrame({"rank": np.linspace(0.4, 0.6, 8), "recall": 0.01}, index=subjects)
    tables = {
        "random tokenizer": base,
        "stage 1": base.assign(rank=base["rank"] - 0.1),
        "stage 2": base.assign(recall=0.03),
    }
    found = retrieval_differences(tables)["difference"]
    assert found["stage 1", "rank"] == pytest.approx(-0.1)
    assert found["stage 1", "recall"] == found["stage 2", "rank"] == 0
    assert found["stage 2", "recall"] == pytest.approx(0.02)


def test_stages_are_compared_within_their_question():
    base = pd.DataFrame({"wake_auc": np.linspace(0.6, 0.9, 8), "kappa": 0.2})
    tables = {
        "actigraphy: hand-made": base,
        "actigraphy: stage 1": base + 0.1,
        "both: ibi alone, before": base,
        "both: stage 1": base + 0.3,
        "both: stage 2": base + 0.2,
    }
    found = stage_differences(tables)["difference"]
    assert len(found) == 6
    assert found["actigraphy: stage 1", "hand-made", "kappa"] == pytest.approx(0.1)
    assert found["both: stage 2", "ibi alone, before", "wake_auc"] == pytest.approx(0.2)
