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
def test_losses_are_nested_never_total(n, share, more, pattern, seed):
    low, high = sorted([share, more])
    few, many = (draw_loss(n, f, pattern, np.random.default_rng(seed)) for f in (low, high))
    assert (few <= many).all()
    assert not many.all()


def test_block_is_one_run():
    lost = draw_loss(100, 0.3, "block", np.random.default_rng(0))
    assert lost.sum() == 30
    assert np.abs(np.diff(lost.astype(int))).sum() <= 2


def test_last_sensor_stays(night):
    losses = _Losses("night", 1.0, NAMES, False, [0, 0])
    for index in range(6):
        assert len(losses.apply(night(index), index).modalities) == 1
    assert losses.share == pytest.approx(2 / 3)
    only = _Losses("night", 1.0, ["ibi"], False, [0, 0])
    assert only.apply(night(0), 0).modalities == ("effort", "spo2")
    assert only.share == 1


def test_sensors_fail_together_or_independently(night):
    def gaps(together):
        altered = _Losses("epoch", 0.5, NAMES, together, [0, 0]).apply(night(0), 0)
        return [np.isnan(altered[name]).reshape(24, -1).all(axis=1).tolist() for name in NAMES]

    assert gaps(True)[0] == gaps(True)[1] == gaps(True)[2]
    assert gaps(False)[0] != gaps(False)[1]


def test_whole_nights_cost_no_encoding(pipeline, asleep, encoded):
    modality_dropout_curve(pipeline, *asleep, patterns="night", fractions=[0, 0.5, 1], **FAST)
    assert sorted(encoded) == sorted(NAMES * 6)


def test_curve_falls_with_losses(pipeline, asleep):
    curve = modality_dropout_curve(
        pipeline, *asleep, patterns=["block"], fractions=[0, 0.8], together=True, **FAST
    )
    table = curve.summary.set_index("fraction")
    assert table["lost"].to_dict() == {0.0: 0.0, 0.8: pytest.approx(0.8, abs=0.03)}
    assert table["score"][0.8] < table["score"][0.0]
    assert (table["low"] <= table["score"]).all()
    assert np.isnan(table["sd"][0.0])
    assert table["sd"][0.8] > 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"patterns": ["hour"]}, "some of night, epoch, block"),
     ({"fractions": [1.0]}, "from 0 to below 1"),
     ({"fractions": [-0.1], "patterns": "night"}, "from 0 to below 1"),
     ({"fractions": []}, "from 0 to below 1"), ({"n_repeats": 0}, "n_repeats")],
)  # fmt: skip
def test_invalid_parameters_are_refused(pipeline, asleep, changed, message):
    with pytest.raises(ValueError, match=message):
        modality_dropout_curve(pipeline, *asleep, **{**FAST, **changed})
