# SPDX-License-Identifier: BSD-3-Clause
import numpy as np

from benchmarks.evaluation.hand_crafted import hand_crafted_heart, variability
from sleep2vec_sklearn import Recording

N_EPOCHS = 60
SECONDS = np.arange(N_EPOCHS * 120) / 4


def night(values):
    return Recording({"ibi": (values, 4)})


def test_oscillations_show_in_their_band():
    waves = {"cyclic": 0.025, "low": 0.1, "high": 0.25}
    shares = {
        band: variability(night(0.9 + 0.05 * np.sin(2 * np.pi * rate * SECONDS)))[
            [f"share_{b}_300" for b in waves]
        ].median()
        for band, rate in waves.items()
    }
    assert all(share.idxmax() == f"share_{band}_300" for band, share in shares.items())
    assert min(share.max() for share in shares.values()) > 0.8


def test_cyclic_power_is_local():
    values = np.full(len(SECONDS), 0.9)
    later = SECONDS[-1] / 2 <= SECONDS
    values[later] += 0.05 * np.sin(2 * np.pi * 0.025 * SECONDS[later])
    power = variability(night(values))["log_cyclic_120"].to_numpy()
    assert power[:25].max() < power[35:].min() - 2


def test_variability_follows_interval_spread():
    rng = np.random.default_rng(0)
    calm, wild = (
        variability(night(0.9 + s * rng.standard_normal(len(SECONDS)))) for s in (0.01, 0.1)
    )
    np.testing.assert_allclose(wild["sdnn"], np.log(0.1), atol=0.3)
    assert (wild["rmssd"] > calm["rmssd"] + 1).all()
    assert calm["large_steps"].max() < wild["large_steps"].min()


def test_heart_features_survive_gaps():
    rng = np.random.default_rng(0)
    values = 0.9 + 0.05 * rng.standard_normal(len(SECONDS))
    values[3000:4500] = np.nan
    watch = Recording({"ibi": (values[::4], 1)})
    blocks = hand_crafted_heart([night(values), night(values[: 31 * 120])])
    assert [len(block) for block in blocks] == [N_EPOCHS, 31]
    assert blocks[0].shape[1] == blocks[1].shape[1]
    assert len(hand_crafted_heart([watch])[0]) == N_EPOCHS
    assert np.isfinite(blocks[0]).mean() > 0.8


def test_no_beat_is_nan():
    table = variability(night(np.full(len(SECONDS), np.nan)))
    assert len(table) == N_EPOCHS
    assert table[["log_cyclic_120", "peak_300", "rmssd"]].isna().all().all()
