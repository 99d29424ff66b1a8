# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn import Sleep2VecTransformer
from sleep2vec_sklearn.probing._nights import (
    AddedNoise,
    EpochsOff,
    OfAnotherNight,
    alter,
)


def off(*epochs, n_epochs=24):
    return EpochsOff(np.isin(np.arange(n_epochs), epochs))


def test_a_sensor_that_is_off_has_no_samples_then(night):
    whole = night(0)
    changed = alter(whole, {"ibi": off(0, 5)})
    gaps = np.isnan(changed["ibi"]).reshape(24, -1)
    assert (
        gaps.all(axis=1).nonzero()[0].tolist() == gaps.any(axis=1).nonzero()[0].tolist() == [0, 5]
    )
    np.testing.assert_array_equal(changed["spo2"], whole["spo2"])


def test_what_is_known_of_the_night_stays(night):
    whole = night(0)
    changed = alter(whole, {"ibi": off(1)})
    for name in ("id", "subject", "n_epochs", "modalities", "rates", "units", "duration"):
        assert getattr(changed, name) == getattr(whole, name)
    np.testing.assert_array_equal(changed.stages, whole.stages)


def test_a_night_without_the_sensor_is_the_night_itself(night):
    assert alter(night(0, ["spo2"]), {"ibi": off(1)}).modalities == ("spo2",)
    whole = night(0)
    assert alter(whole, {}) is whole


def test_noise_keeps_gaps_and_follows_its_seed(night):
    gappy = alter(night(0), {"ibi": off(3)})
    first, again, other = (
        alter(gappy, {"ibi": AddedNoise(1.0, seed)})["ibi"] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other, equal_nan=True)
    np.testing.assert_array_equal(np.isnan(first), np.isnan(gappy["ibi"]))
    noise = first - gappy["ibi"]
    assert np.nanstd(noise) == pytest.approx(np.nanstd(gappy["ibi"]), rel=0.1)


def test_another_persons_signal_comes_with_its_tokens(night, embed, checkpoint_in_memory):
    first, second = night(0), night(1)
    swapped = alter(first, {"ibi": OfAnotherNight(second)})
    np.testing.assert_array_equal(swapped["ibi"], second["ibi"])
    assert swapped.signal_fingerprint("ibi") == second.signal_fingerprint("ibi")
    np.testing.assert_array_equal(
        embed([swapped], modalities=["ibi"]), embed([second], modalities=["ibi"])
    )


def test_altered_signals_are_not_taken_from_the_cache(night, checkpoint_in_memory):
    whole = night(0)
    changed = [
        alter(whole, {"ibi": c}) for c in (off(1), off(2), AddedNoise(1, 0), AddedNoise(1, 1))
    ]
    prints = {n.signal_fingerprint("ibi") for n in [whole, *changed]}
    assert len(prints) == len({n.fingerprint for n in [whole, *changed]}) == 5
    model = Sleep2VecTransformer(checkpoint_in_memory)
    assert len(np.unique(model.fit_transform([whole, *changed]), axis=0)) == 5
