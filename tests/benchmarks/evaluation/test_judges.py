# SPDX-License-Identifier: BSD-3-Clause
"""Nights as the judges get them, and what is printed of their answers."""

import numpy as np

from benchmarks.evaluation.judges import CHANNELS, RATE, compare, simulated_nights, to_channels
from benchmarks.evaluation.one_night import OneNight
from sleep2vec_sklearn import Recording

STAGES = np.arange(10) % 5


def test_perfect_judge_has_kappa_one(capsys):
    night = Recording({"eeg": (np.ones(10 * 30 * 50), 50.0)}, stages=STAGES)
    used = np.arange(10) > 2
    compare("nights", iter([OneNight(night, used)]), {"judge": lambda channels: STAGES[3:]})
    assert "judge, nights: kappa 1.00" in capsys.readouterr().out


def test_channels_are_microvolts():
    night = next(simulated_nights([2])).recording
    channels = to_channels(night, slice(10, 20))
    assert set(channels) == set(CHANNELS)
    assert {len(samples) for samples in channels.values()} == {10 * 30 * RATE}
    assert 2 < channels["eeg"].std() < 200
