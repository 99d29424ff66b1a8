# SPDX-License-Identifier: BSD-3-Clause
"""The layout of the authors' NPZ files: keys, rates that are guessed, tracks of events."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn import read_recording
from sleep2vec_sklearn.errors import NoUsableChannelError, ReadError
from sleep2vec_sklearn.readers import NpzSource, describe_channels
from sleep2vec_sklearn.recordings import MODALITIES


@pytest.fixture
def write(tmp_path):
    def _write(name="a.npz", **arrays):
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return _write


@pytest.mark.parametrize("name", MODALITIES)
def test_a_modality_is_known_by_the_authors_key_and_by_its_own(write, name):
    modality = MODALITIES[name]
    values = np.linspace(1, 2, 2 * modality.conditioning.width).astype(np.float32)
    for key in sorted({modality.upstream_key, name}):
        night = read_recording(write(**{key: values}), derive=False)
        assert night.modalities == (name,)
        assert (night.rates, night.n_epochs) == ({name: modality.conditioning.rate}, 2)
        np.testing.assert_array_equal(night[name], values)


@pytest.mark.parametrize(("key", "name"), [("psg_heartbeat", "ibi"), ("psg_breath", "resp")])
def test_older_keys_are_known(write, key, name):
    assert read_recording(write(**{key: np.ones(240)}), derive=False).modalities == (name,)


@pytest.mark.parametrize(
    ("n", "rate", "unit"), [(120, 1, "counts"), (600, 1, "counts"), (601, 32, "g"), (3840, 32, "g")]
)
@pytest.mark.parametrize("beside", ["stage5", "spo2"])
def test_actigraphy_is_told_by_its_length(write, n, rate, unit, beside):
    others = {"stage5": np.zeros(4, dtype=int), "spo2": np.full(480, 95.0)}
    layout = NpzSource(write(actigraphy=np.ones(n), **{beside: others[beside]})).layout
    assert (layout["actigraphy"].rate, layout["actigraphy"].unit) == (rate, unit)


def test_actigraphy_alone_is_counts(write):
    layout = NpzSource(write(actigraphy=np.ones(9600))).layout["actigraphy"]
    assert (layout.rate, layout.unit) == (1, "counts")


def test_a_rate_that_is_stated_goes_before_one_that_is_guessed(write):
    path = write(actigraphy=np.ones(9600), stage5=np.zeros(4), rate_actigraphy=80.0)
    layout = NpzSource(path).layout["actigraphy"]
    assert (layout.rate, layout.unit, layout.duration) == (80.0, "g", 120.0)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(track=st.lists(st.booleans(), min_size=60, max_size=60))
def test_runs_of_a_track_become_events_and_back(write, track):
    path = write(spo2=np.full(240, 95.0), ah_event=np.array(track, dtype=float))
    events = NpzSource(path).own_scoring().events
    again = np.zeros(60, dtype=bool)
    for onset, duration, kind in [] if events is None else events.itertuples(index=False):
        assert not again[int(onset) : int(onset + duration)].any()
        again[int(onset) : int(onset + duration)] = True
        assert kind == "apnea or hypopnea"
    assert again.tolist() == track
    runs = np.flatnonzero(np.diff([0, *track]) == 1)
    assert (0 if events is None else len(events)) == len(runs)


def test_each_column_of_arousals_has_its_kind(write):
    arousals = np.zeros((60, 4))
    for column in range(4):
        arousals[10 * column : 10 * column + 3, column] = 1
    events = NpzSource(write(spo2=np.ones(240), arousal_event=arousals)).own_scoring().events
    kinds = ["respiratory", "spontaneous", "limb movement", "periodic limb movement"]
    assert events["type"].tolist() == [f"arousal ({kind})" for kind in kinds]
    assert events["onset"].tolist() == [0, 10, 20, 30]
    assert set(events["duration"]) == {3.0}


@pytest.mark.parametrize(("code", "stage"), [(0, 0), (4, 4), (5, -1), (-1, -1), (9, -1)])
def test_codes_that_are_no_stage_are_unscored(write, code, stage):
    path = write(spo2=np.linspace(90, 99, 240), stage5=np.array([2, code]))
    assert read_recording(path).stages.tolist() == [2, stage]


@pytest.mark.parametrize("shape", [(2, 120), (240,)])
def test_epochs_in_rows_are_laid_end_to_end(write, shape):
    values = np.arange(240.0).reshape(shape)
    np.testing.assert_array_equal(read_recording(write(resp=values))["resp"], np.arange(240))


@pytest.mark.parametrize("bad", [np.zeros((2, 2, 60)), np.array(["a"] * 240), np.ones(240) * 1j])
def test_arrays_that_are_no_signal_are_passed_over(write, bad):
    assert read_recording(write(resp=np.ones(240), spo2=bad)).modalities == ("resp",)
    with pytest.raises(
        NoUsableChannelError, match=r"found spo2\. Accepted keys are the catalogue's"
    ):
        read_recording(write(spo2=bad))


@pytest.mark.parametrize("rate", [0.0, -4.0, np.nan])
def test_a_rate_that_cannot_be_is_named(write, rate):
    with pytest.raises(ReadError, match=r"'spo2' has unit '%' and rate .*Change unit_spo2 or rate"):
        read_recording(write(spo2=np.ones(240), rate_spo2=rate))


def test_numbers_that_describe_the_night_are_metadata_and_rates_are_not(write):
    path = write(spo2=np.ones(240), rate_spo2=4.0, unit_spo2="%", age=61, site="b")
    assert dict(read_recording(path).metadata) == {"age": 61, "site": "b"}


def test_what_is_held_twice_is_read_once_and_told(write):
    table = describe_channels(write(eeg=np.ones(7680), eeg_original=np.zeros(7680)))
    assert table["used"].tolist() == [True, False]
    assert table["why"][1] == "unknown key, or a modality held twice"


def test_settings_and_content_both_change_the_fingerprint(write):
    values = np.linspace(90, 99, 240)
    prints = {
        NpzSource(write("a.npz", spo2=values)).fingerprint(),
        NpzSource(write("b.npz", spo2=values + 1)).fingerprint(),
        NpzSource(write("c.npz", spo2=values, resp=values)).fingerprint(),
        NpzSource(write("c.npz", spo2=values, resp=values), modalities=["resp"]).fingerprint(),
        NpzSource(
            write("c.npz", spo2=values, resp=values), channels={"spo2": "resp"}
        ).fingerprint(),
    }
    assert len(prints) == 5
