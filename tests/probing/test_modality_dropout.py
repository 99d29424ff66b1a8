# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn.probing import draw_loss, modality_dropout_curve
from sleep2vec_sklearn.probing.modality_dropout import _Losses

FAST = {"n_resamples": 50, "n_repeats": 2, "cv": 2}
NAMES = ("effort", "spo2", "ibi")


@given(
    n=st.integers(1, 60),
    share=st.floats(0, 0.99),
    more=st.floats(0, 0.99),
    pattern=st.sampled_from(["epoch", "block"]),
    seed=st.integers(0, 99),
)
def test_losses_grow_and_leave_an_epoch(n, share, more, pattern, seed):
    low, high = sorted([share, more])
    few, many = (draw_loss(n, f, pattern, np.random.default_rng(seed)) for f in (low, high))
    assert (few <= many).all()
    assert not many.all()


def test_a_block_is_one_stretch_of_the_share_asked_for():
    lost = draw_loss(100, 0.3, "block", np.random.default_rng(0))
    assert lost.sum() == 30
    assert np.abs(np.diff(lost.astype(int))).sum() <= 2


def test_the_last_sensor_of_a_night_stays(night):
    losses = _Losses("night", 1.0, NAMES, False, [0, 0])
    for place in range(6):
        assert len(losses.lose(night(place), place).modalities) == 1
    assert losses.share == pytest.approx(2 / 3)
    only = _Losses("night", 1.0, ["ibi"], False, [0, 0])
    assert only.lose(night(0), 0).modalities == ("effort", "spo2")
    assert only.share == 1


def test_sensors_are_lost_together_or_each_on_its_own(night):
    def gaps(together):
        changed = _Losses("epoch", 0.5, NAMES, together, [0, 0]).lose(night(0), 0)
        return [np.isnan(changed[name]).reshape(24, -1).all(axis=1).tolist() for name in NAMES]

    assert gaps(True)[0] == gaps(True)[1] == gaps(True)[2]
    assert gaps(False)[0] != gaps(False)[1]


def test_whole_sensors_lost_cost_no_encoding(pipeline, asleep, encoded):
    X, y, groups = asleep
    modality_dropout_curve(pipeline, X, y, groups, patterns="night", fractions=[0, 0.5, 1], **FAST)
    assert sorted(encoded) == sorted(NAMES * 6)


def test_a_curve_falls_with_the_sensor_that_tells(pipeline, asleep):
    X, y, groups = asleep
    curve = modality_dropout_curve(
        pipeline, X, y, groups, patterns=["block"], fractions=[0, 0.8], together=True, **FAST
    )
    table = curve.summary.set_index("fraction")
    assert table["lost"].to_dict() == {0.0: 0.0, 0.8: pytest.approx(0.8, abs=0.03)}
    assert table["score"][0.8] < table["score"][0.0]
    assert (table["low"] <= table["score"]).all()
    assert np.isnan(table["sd"][0.0])
    assert table["sd"][0.8] > 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"patterns": ["hour"]}, "some of night, epoch, block"),
        ({"fractions": [1.0]}, "from 0 to below 1"),
        ({"fractions": [-0.1], "patterns": "night"}, "from 0 to below 1"),
        ({"fractions": []}, "from 0 to below 1"),
        ({"n_repeats": 0}, "at least 1"),
    ],
)
def test_plans_that_make_no_sense_are_refused(pipeline, asleep, changed, message):
    with pytest.raises(ValueError, match=message):
        modality_dropout_curve(pipeline, *asleep, **{**FAST, **changed})
