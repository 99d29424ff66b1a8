# SPDX-License-Identifier: BSD-3-Clause
"""Simulated apneas, desaturations, arousals and movements."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn.datasets import make_sleep_cohort
from sleep2vec_sklearn.datasets.simulation._cardiorespiratory import (
    _subtract_dips,
    breathe,
    movement_size,
    spo2,
)
from sleep2vec_sklearn.datasets.simulation._night import (
    RespiratoryEvents,
    _are_spaced,
    draw_night,
    draw_respiratory_events,
)
from sleep2vec_sklearn.datasets.simulation._subjects import draw_site, draw_subject

W, N1, N2, N3, R = range(5)
SITE = draw_site(1, 1, "full_laboratory")
SUBJECT = dataclasses.replace(draw_subject(0, 1), ahi=40.0, desaturation=1.5)
seeds = st.integers(0, 2**32)
few = settings(max_examples=15)


def simulate(seed, n_epochs=240, **traits):
    return draw_night((4, seed), dataclasses.replace(SUBJECT, **traits), SITE, n_epochs)


def events_of(stages, seed, **traits):
    subject = dataclasses.replace(SUBJECT, **traits)
    return draw_respiratory_events(subject, np.asarray(stages), np.random.default_rng(seed))


@few
@given(seed=seeds, stages=st.lists(st.integers(0, 4), min_size=30, max_size=300))
def test_events_are_asleep_and_apart(seed, stages):
    events = events_of(stages, seed, ahi=90.0)
    assert (np.array(stages)[(events.onset // 30).astype(int)] > W).all()
    assert (np.diff(events.onset) > 0).all()
    assert (events.onset[1:] - events.end[:-1] >= 8).all()
    assert ((events.duration >= 10) & (events.duration <= 70)).all()


@few
@given(seed=seeds)
def test_event_fields_are_plausible(seed):
    events = events_of([N2] * 400, seed)
    sizes = {len(getattr(events, f.name)) for f in dataclasses.fields(events)}
    assert sizes == {len(events)}
    assert ((events.drop >= 0.2) & (events.drop <= 35)).all()
    assert ((events.lag >= 6) & (events.lag <= 24)).all()
    np.testing.assert_array_equal(events.desaturating, events.drop >= 3)


def test_events_are_spaced_in_sleep():
    assert len(events_of([W] * 300, 0)) == 0
    last = [events_of([N2] * 40, k, ahi=90.0).onset.max(initial=0) for k in range(60)]
    assert max(last) < 38 * 30
    onset = np.array([0.0, 10.0, 18.0, 30.0, 100.0])
    kept = _are_spaced(onset, np.full(5, 10.0))
    assert kept.tolist() == [True, False, True, False, True]


def test_events_prefer_rem():
    stages = np.tile(np.repeat([N2, N3, R], 10), 40)
    found = [events_of(stages, k, rem_apnea=2.0).onset for k in range(12)]
    counts = np.bincount(stages[(np.concatenate(found) // 30).astype(int)], minlength=5)
    assert counts[R] > 1.2 * counts[N2]
    assert counts[N3] < 0.5 * counts[N2]


def test_severe_apnea_desaturates_more():
    mild, severe = (events_of([N2] * 4000, 0, ahi=ahi) for ahi in (5.0, 70.0))
    assert severe.apnea.mean() > mild.apnea.mean() + 0.2
    longer = severe.duration > np.median(severe.duration)
    assert np.median(severe.drop[longer]) > 1.3 * np.median(severe.drop[~longer])
    assert np.median(severe.drop[severe.apnea]) > 1.3 * np.median(severe.drop[~severe.apnea])


def test_dip_falls_and_recovers():
    level = np.full(200, 95.0)
    # the second goes on after the end
    _subtract_dips(level, 1, [20.0, 185.0], [50.0, 200.0], [8.0, 6.0])
    assert level[50] == 87
    assert (level[:21] == 95).all()
    assert (np.diff(level[20:51]) < 0).all()
    assert (np.diff(level[50:73]) > 0).all()
    assert level[60] == pytest.approx(95 - 0.35 * 8)
    assert (level[72:186] == 95).all()
    assert level[199] == pytest.approx(95 - 6 * 14 / 15)


def with_events(night, *values):
    fields = [np.array([value]) for value in values] or [np.empty(0)] * 6
    return dataclasses.replace(night, respiratory=RespiratoryEvents(*fields))


def test_saturation_falls_after_event():
    stages = np.full(120, N2, dtype=np.int8)
    night = dataclasses.replace(simulate(0, 120), true_stages=stages)
    event = with_events(night, 1800.0, 40.0, True, True, 20.0, 14.0)
    lost = spo2(with_events(night), 1) - spo2(event, 1)
    assert not lost[: 1800 + 8].any()
    assert lost[1845:1860].max() >= 15
    assert 1850 <= lost.argmax() <= 1858
    assert not lost[1800 + 40 + 14 + 24 :].any()


def test_breathing_stops_for_event():
    night = simulate(1, 120)
    stopped = breathe(with_events(night, 900.0, 30.0, True, True, 5.0, 14.0))
    free = breathe(with_events(night))
    flow, chest = stopped.flow / free.flow, stopped.effort / free.effort
    np.testing.assert_allclose(flow[900 * 4 : 930 * 4], 0.04, rtol=1e-3)
    np.testing.assert_allclose(chest[900 * 4 : 930 * 4], 0.55, rtol=1e-3)
    np.testing.assert_allclose(flow[930 * 4 : 939 * 4], 1.6, rtol=1e-3)
    np.testing.assert_allclose(np.delete(flow, np.s_[900 * 4 : 939 * 4]), 1, rtol=1e-6)
    np.testing.assert_array_equal(stopped.phase, free.phase)


@few
@given(seed=st.integers(0, 50))
def test_arousals_and_movements_are_plausible(seed):
    night = simulate(seed)
    arousals, moves = night.arousals, night.movements
    assert (np.diff(arousals.onset) >= 0).all()
    assert ((arousals.duration >= 3) & (arousals.duration <= 15)).all()
    assert arousals.onset.max(initial=0) < night.duration - 20
    assert (np.diff(moves.onset) >= 0).all()
    assert ((moves.size >= 0.02) & (moves.size <= 4)).all()
    assert ((moves.duration >= 0.5) & (moves.duration <= 40)).all()
    assert len(moves.onset) == len(moves.size) == len(moves.duration)


def test_arousals_end_events():
    night = simulate(2)
    ends = night.respiratory.end[night.respiratory.arousing]
    ends = ends[ends < night.duration - 20]
    assert len(ends) > 5
    assert np.isin(ends, night.arousals.onset).all()


def test_arousals_prefer_light_sleep():
    nights = [simulate(k, 960, ahi=0.3) for k in range(6)]
    aroused = np.concatenate([n.true_stages[(n.arousals.onset // 30).astype(int)] for n in nights])
    stages = np.concatenate([n.true_stages for n in nights])
    rate = np.bincount(aroused, minlength=5) / np.bincount(stages, minlength=5)
    assert rate[W] < 0.02
    assert rate[N1] > rate[N2] > rate[N3]


def test_movement_size_is_largest():
    night = simulate(3, 60)
    sizes = movement_size(night, 4)
    assert sizes.shape == (60 * 30 * 4,)
    for onset, size in zip(night.movements.onset, night.movements.size, strict=True):
        assert sizes[int(onset * 4)] >= np.float32(size)
    assert sizes.max() == pytest.approx(night.movements.size.max())


@pytest.fixture(scope="module")
def recordings():
    return make_sleep_cohort(8, hours=4, missing=0, random_state=11, modalities="spo2")


def test_desaturation_follows_its_cause(recordings):
    for events in (recording.events for recording in recordings):
        breaths = events[events["type"].isin(["obstructive_apnea", "hypopnea"])]
        for fall in events[events["type"] == "desaturation"].itertuples():
            cause = breaths[breaths["onset"] < fall.onset].iloc[-1]
            assert 4.8 - 0.01 <= fall.onset - cause["onset"] <= 0.8 * 24 + 0.01
            assert fall.onset + fall.duration > cause["onset"] + cause["duration"]


def test_event_table_is_complete(recordings):
    kinds = set()
    for recording in recordings:
        events = recording.events
        assert list(events.columns) == ["onset", "duration", "type"]
        assert isinstance(events.index, pd.RangeIndex)
        assert events["onset"].is_monotonic_increasing
        assert events["onset"].min() >= 0
        assert (events["duration"] > 0).all()
        assert (events["onset"] + events["duration"]).max() < recording.duration + 60
        desaturating = recording._source.night.respiratory.desaturating.sum()
        assert (events["type"] == "desaturation").sum() == desaturating
        kinds |= set(events["type"])
    assert kinds == {"obstructive_apnea", "hypopnea", "arousal", "desaturation"}
