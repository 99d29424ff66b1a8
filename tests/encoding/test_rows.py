# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn import EpochSequence, Recording
from tests.strategies import montages, recordings

pytestmark = pytest.mark.filterwarnings("ignore::sleep2vec_sklearn.errors.RecordingWarning")
few = settings(max_examples=8)


@few
@given(night=montages())
def test_any_subset_gives_finite_row(embed, night):
    assert np.isfinite(embed([night])).all()


@few
@given(night=recordings(max_epochs=6))
def test_every_epoch_has_finite_row(embed, night):
    rows = embed(EpochSequence([night]), fusion="concat")
    assert rows.shape == (night.n_epochs, 6 * 32)
    assert np.isfinite(rows).all()


@few
@given(nights=st.lists(recordings(max_epochs=5), min_size=2, max_size=4), seed=st.integers(0, 99))
def test_row_ignores_its_batch(embed, nights, seed):
    alone = np.concatenate([embed([night]) for night in nights])
    order = np.random.default_rng(seed).permutation(len(nights))
    together = embed([nights[i] for i in order], batch_size=1 + seed % 5)
    np.testing.assert_array_equal(together, alone[order])


@few
@given(night=recordings(min_epochs=3, max_epochs=20), data=st.data())
def test_row_ignores_selection_of_epochs(embed, night, data):
    X = EpochSequence([night])
    idx = data.draw(st.lists(st.integers(0, len(X) - 1), min_size=1))
    np.testing.assert_array_equal(embed(X[idx]), embed(X)[idx])


@few
@given(night=recordings(), data=st.data())
def test_dropping_modalities_moves_no_epoch(embed, night, data):
    dropped = data.draw(st.sets(st.sampled_from(night.modalities), max_size=len(night) - 1))
    rest = night.without(*dropped)
    assert rest.n_epochs == night.n_epochs
    whole, part = (embed(EpochSequence([r]), fusion="concat") for r in (night, rest))
    names = ("eeg", "ecg", "effort", "spo2", "ibi", "actigraphy")
    kept = names.index(rest.modalities[0])
    block = slice(32 * kept, 32 * (kept + 1))
    present = ~np.isnan(rest[rest.modalities[0]]).any()
    assert not present or np.array_equal(whole[:, block], part[:, block])


def test_rows_are_means(embed, cohort, of_one_subject):
    nights = embed(cohort[:3])
    (row,) = embed([of_one_subject(cohort[:3])])
    np.testing.assert_allclose(row, nights.mean(axis=0), rtol=1e-5, atol=1e-6)
    night = cohort[1].without(*(n for n in cohort[1].modalities if n != "ecg"))
    epochs = embed(EpochSequence([night]))
    np.testing.assert_allclose(embed([night])[0], epochs.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_masked_samples_are_gaps(embed, noise):
    values, _ = noise("ecg")
    masked = np.ma.array(np.where(np.arange(len(values)) < 5000, 1e9, values), mask=False)
    masked[:5000] = np.ma.masked
    gaps = values.copy()
    gaps[:5000] = np.nan
    np.testing.assert_array_equal(embed([{"ecg": masked}]), embed([{"ecg": gaps}]))


def test_input_is_unchanged(embed, noise):
    values, rate = noise("eeg", rate=100)
    values[40:90] = np.nan
    before = values.copy()
    night = {"eeg": (values, rate), "spo2": None}
    embed([night])
    assert list(night) == ["eeg", "spo2"]
    assert night["eeg"][0] is values
    assert values.flags.writeable
    np.testing.assert_array_equal(values, before)


def test_rows_are_writable(checkpoint_path, cohort):
    from sleep2vec_sklearn import Sleep2VecTransformer

    transformer = Sleep2VecTransformer(checkpoint_path, modalities=["ecg"])
    X = EpochSequence([r for r in cohort if "ecg" in r])
    rows = transformer.fit_transform(X)
    kept = rows.copy()
    rows[:] = 0
    np.testing.assert_array_equal(transformer.transform(X), kept)


def test_silence_and_batches_keep_rows(embed, noise, cohort):
    night = Recording({"ecg": noise("ecg")}, duration=20 * 30)
    assert embed(EpochSequence([night])).shape == (20, 32)
    np.testing.assert_array_equal(embed([night]).shape, (1, 32))
    expected = embed(cohort)
    for batch_size in (1, 2, 7):
        np.testing.assert_array_equal(embed(cohort, batch_size=batch_size), expected)


def test_empty_epoch_follows_neighbours(embed, noise):
    ecg, rate = noise("ecg", n_epochs=6)
    ecg[3 * 3840 : 4 * 3840] = np.nan
    other = ecg.copy()
    other[2 * 3840 : 3 * 3840] *= 3 * np.sin(np.arange(3840) / 9)
    rows, changed = (embed(EpochSequence([{"ecg": (x, rate)}])) for x in (ecg, other))
    assert np.abs(rows[3] - changed[3]).max() > 1e-6


def test_samples_of_missing_epoch_ignored(embed, noise):
    ecg, rate = noise("ecg", n_epochs=6)
    ecg[3 * 3840 : 4 * 3840 - 100] = np.nan
    emptier = ecg.copy()
    emptier[4 * 3840 - 100 : 4 * 3840 - 60] = np.nan
    rows, same = (embed([{"ecg": (x, rate)}]) for x in (ecg, emptier))
    np.testing.assert_allclose(rows, same, atol=0.02)
