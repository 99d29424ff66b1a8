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
def test_any_subset_of_modalities_with_gaps_gives_a_finite_row(embed, night):
    assert np.isfinite(embed([night])).all()


@few
@given(night=recordings(max_epochs=6))
def test_every_epoch_has_a_finite_row(embed, night):
    rows = embed(EpochSequence([night]), fusion="concat")
    assert rows.shape == (night.n_epochs, 6 * 32)
    assert np.isfinite(rows).all()


@few
@given(nights=st.lists(recordings(max_epochs=5), min_size=2, max_size=4), seed=st.integers(0, 99))
def test_a_row_alone_is_the_row_in_any_batch(embed, nights, seed):
    alone = np.concatenate([embed([night]) for night in nights])
    order = np.random.default_rng(seed).permutation(len(nights))
    together = embed([nights[i] for i in order], batch_size=1 + seed % 5)
    np.testing.assert_array_equal(together, alone[order])


@few
@given(night=recordings(min_epochs=3, max_epochs=20), data=st.data())
def test_an_epochs_row_does_not_depend_on_which_epochs_are_asked_for(embed, night, data):
    X = EpochSequence([night])
    idx = data.draw(st.lists(st.integers(0, len(X) - 1), min_size=1))
    np.testing.assert_array_equal(embed(X[idx]), embed(X)[idx])


@few
@given(night=montages(), seed=st.integers(0, 99))
def test_rows_do_not_depend_on_the_order_of_keys(embed, night, seed):
    order = np.random.default_rng(seed).permutation(sorted(night))
    shuffled = {name: night[name] for name in order}
    np.testing.assert_array_equal(embed([shuffled]), embed([night]))


@few
@given(night=recordings(), data=st.data())
def test_dropping_modalities_never_moves_an_epoch(embed, night, data):
    dropped = data.draw(st.sets(st.sampled_from(night.modalities), max_size=len(night) - 1))
    rest = night.without(*dropped)
    assert rest.n_epochs == night.n_epochs
    whole, part = (embed(EpochSequence([r]), fusion="concat") for r in (night, rest))
    names = ("eeg", "ecg", "effort", "spo2", "ibi", "actigraphy")
    kept = names.index(rest.modalities[0])
    block = slice(32 * kept, 32 * (kept + 1))
    present = ~np.isnan(rest[rest.modalities[0]]).any()
    assert not present or np.array_equal(whole[:, block], part[:, block])


@pytest.mark.parametrize("batch_size", [None, 1, 2, 7])
def test_rows_do_not_depend_on_batch_size(embed, cohort, batch_size):
    np.testing.assert_array_equal(embed(cohort, batch_size=batch_size), embed(cohort))


def test_a_list_of_epoch_views_is_an_epoch_sequence(embed, cohort):
    X = EpochSequence(cohort)[::7]
    np.testing.assert_array_equal(embed(list(X)), embed(X))


def test_epochs_of_one_night_are_taken_from_the_right_places(embed, cohort):
    X = EpochSequence(cohort)
    order = np.random.default_rng(0).permutation(len(X))
    np.testing.assert_array_equal(embed(X[order]), embed(X)[order])


def test_a_subjects_row_is_the_mean_of_its_nights(embed, cohort, of_one_subject):
    nights = embed(cohort[:3])
    (row,) = embed([of_one_subject(cohort[:3])])
    np.testing.assert_allclose(row, nights.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_a_list_of_one_night_is_that_night(embed, cohort):
    np.testing.assert_array_equal(embed([[cohort[0]]]), embed(cohort[:1]))


def test_mean_over_epochs_is_the_nights_row(embed, cohort):
    night = cohort[1].without(*(n for n in cohort[1].modalities if n != "ecg"))
    epochs = embed(EpochSequence([night]))
    np.testing.assert_allclose(embed([night])[0], epochs.mean(axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "as_other",
    [
        np.asfortranarray,
        lambda x: x.astype(">f4"),
        lambda x: x.astype(np.float64),
        lambda x: x[::1].reshape(4, -1),
        lambda x: np.repeat(x, 2)[::2],
        lambda x: x.tolist(),
    ],
    ids=["fortran", "big-endian", "float64", "epochs", "strided", "list"],
)
def test_rows_do_not_depend_on_the_container(embed, noise, as_other):
    values, _ = noise("ecg")
    np.testing.assert_array_equal(embed([{"ecg": as_other(values)}]), embed([{"ecg": values}]))


def test_integers_give_the_rows_of_the_same_floats(embed, noise):
    counts = (noise("eeg")[0] * 10).astype(np.int16)
    floats = counts.astype(np.float32)
    np.testing.assert_array_equal(embed([{"eeg": counts}]), embed([{"eeg": floats}]))


def test_read_only_memory_maps_are_read(embed, noise, tmp_path):
    values, _ = noise("ecg")
    np.save(tmp_path / "ecg.npy", values)
    mapped = np.load(tmp_path / "ecg.npy", mmap_mode="r")
    np.testing.assert_array_equal(embed([{"ecg": mapped}]), embed([{"ecg": values}]))


def test_masked_samples_are_gaps(embed, noise):
    values, _ = noise("ecg")
    masked = np.ma.array(np.where(np.arange(len(values)) < 5000, 1e9, values), mask=False)
    masked[:5000] = np.ma.masked
    gaps = values.copy()
    gaps[:5000] = np.nan
    np.testing.assert_array_equal(embed([{"ecg": masked}]), embed([{"ecg": gaps}]))


def test_input_is_left_as_it_was(embed, noise):
    values, rate = noise("eeg", rate=100)
    values[40:90] = np.nan
    before = values.copy()
    night = {"eeg": (values, rate), "spo2": None}
    embed([night])
    assert list(night) == ["eeg", "spo2"]
    assert night["eeg"][0] is values
    assert values.flags.writeable
    np.testing.assert_array_equal(values, before)


def test_rows_are_a_writable_array_of_their_own(checkpoint_path, cohort):
    from sleep2vec_sklearn import Sleep2VecTransformer

    transformer = Sleep2VecTransformer(checkpoint_path, modalities=["ecg"])
    X = EpochSequence([r for r in cohort if "ecg" in r])
    rows = transformer.fit_transform(X)
    kept = rows.copy()
    rows[:] = 0
    np.testing.assert_array_equal(transformer.transform(X), kept)


def test_rows_are_float32(embed, noise):
    assert embed([Recording({"ecg": noise("ecg")})]).dtype == np.float32
