# SPDX-License-Identifier: BSD-3-Clause
"""Sensors that are missing for a night, an epoch, or a whole window."""

import numpy as np
import pytest

from sleep2vec_sklearn import EpochSequence, Recording

SMALL = ("eeg", "ecg", "effort", "spo2", "ibi", "actigraphy")


@pytest.mark.parametrize("name", SMALL)
def test_each_modality_works_alone(embed, noise, name):
    rows = embed(EpochSequence([{name: noise(name)}]))
    assert np.isfinite(rows).all()
    assert rows.std() > 0


@pytest.mark.parametrize("gap", [(0, 2), (5, 8), (18, 20), (2, 19)])
def test_an_epoch_without_any_modality_has_a_finite_row(embed, noise, gap):
    ecg, rate = noise("ecg", n_epochs=20)
    ecg[gap[0] * 3840 : gap[1] * 3840] = np.nan
    rows = embed(EpochSequence([{"ecg": (ecg, rate)}]))
    assert np.isfinite(rows).all()


def test_epochs_of_silence_after_the_last_sensor_have_finite_rows(embed, noise):
    night = Recording({"ecg": noise("ecg")}, duration=20 * 30)
    assert embed(EpochSequence([night])).shape == (20, 32)
    np.testing.assert_array_equal(embed([night]).shape, (1, 32))


def test_an_empty_epoch_is_inferred_from_its_neighbours(embed, noise):
    ecg, rate = noise("ecg", n_epochs=6)
    ecg[3 * 3840 : 4 * 3840] = np.nan
    other = ecg.copy()
    other[2 * 3840 : 3 * 3840] *= 3 * np.sin(np.arange(3840) / 9)
    rows, changed = (embed(EpochSequence([{"ecg": (x, rate)}])) for x in (ecg, other))
    assert np.abs(rows[3] - changed[3]).max() > 1e-6


def test_samples_in_a_missing_epoch_do_not_matter(embed, noise):
    ecg, rate = noise("ecg", n_epochs=6)
    ecg[3 * 3840 : 4 * 3840 - 100] = np.nan
    emptier = ecg.copy()
    emptier[4 * 3840 - 100 : 4 * 3840 - 60] = np.nan
    rows, same = (embed([{"ecg": (x, rate)}]) for x in (ecg, emptier))
    np.testing.assert_allclose(rows, same, atol=0.02)


def test_a_block_without_its_sensor_holds_the_mean_of_the_others(embed, noise):
    night = {"ecg": noise("ecg"), "ibi": noise("ibi")}
    blocks = embed(EpochSequence([night]), fusion="concat").reshape(4, 6, 32)
    mean = embed(EpochSequence([night]))
    for block in (0, 2, 3, 5):
        np.testing.assert_array_equal(blocks[:, block], mean)
    np.testing.assert_allclose(blocks[:, [1, 4]].mean(axis=1), mean, atol=1e-6)


def test_a_sensor_that_falls_off_leaves_the_others_in_its_epochs(embed, noise):
    ecg, ibi = noise("ecg"), noise("ibi")
    ecg[0][2 * 3840 :] = np.nan
    rows = embed(EpochSequence([{"ecg": ecg, "ibi": ibi}]))
    np.testing.assert_array_equal(rows[2:], embed(EpochSequence([{"ibi": ibi}]))[2:])


def test_missing_epochs_do_not_enter_a_nights_row(embed, noise):
    ecg, rate = noise("ecg", n_epochs=4)
    short = Recording({"ecg": (ecg, rate)}, duration=8 * 30)
    epochs = embed(EpochSequence([short]))
    np.testing.assert_allclose(embed([short])[0], epochs[:4].mean(axis=0), rtol=1e-5, atol=1e-6)


def test_a_sensor_of_the_night_before_changes_nothing(embed, noise):
    watch = {"ibi": noise("ibi")}
    full = {name: noise(name) for name in SMALL}
    np.testing.assert_array_equal(embed([full, watch])[1], embed([watch])[0])
