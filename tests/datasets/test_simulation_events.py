# SPDX-License-Identifier: BSD-3-Clause
"""Apneas, desaturations, arousals and movements: what causes what, and when."""

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
def test_events_begin_asleep_in_time_order_and_well_apart(seed, stages):
    events = events_of(stages, seed, ahi=90.0)
    assert (np.array(stages)[(events.onset // 30).astype(int)] > W).all()
    assert (np.diff(events.onset) > 0).all()
    assert (events.onset[1:] - events.end[:-1] >= 8).all()
    assert ((events.duration >= 10) & (events.duration <= 70)).all()


@few
@given(seed=seeds)
def test_the_fields_of_events_belong_together_and_are_plausible(seed):
    events = events_of([N2] * 400, seed)
    sizes = {len(getattr(events, f.name)) for f in dataclasses.fields(events)}
    assert sizes == {len(events)}
    assert ((events.drop >= 0.2) & (events.drop <= 35)).all()
    assert ((events.lag >= 6) & (events.lag <= 24)).all()
    np.testing.assert_array_equal(events.desaturating, events.drop >= 3)


def test_nobody_has_apnea_awake():
    assert len(events_of([W] * 300, 0)) == 0


def test_rem_has_more_events_than_n2_and_n3_fewer():
    stages = np.tile(np.repeat([N2, N3, R], 10), 40)
    found = [events_of(stages, k, rem_apnea=2.0).onset for k in range(12)]
    counts = np.bincount(stages[(np.concatenate(found) // 30).astype(int)], minlength=5)
    assert counts[R] > 1.2 * counts[N2]
    assert counts[N3] < 0.5 * counts[N2]


def test_severe_apnea_has_more_full_stops_and_longer_events_fall_deeper():
    mild, severe = (events_of([N2] * 4000, 0, ahi=ahi) for ahi in (5.0, 70.0))
    assert severe.apnea.mean() > mild.apnea.mean() + 0.2
    longer = severe.duration > np.median(severe.duration)
    assert np.median(severe.drop[longer]) > 1.3 * np.median(severe.drop[~longer])
    assert np.median(severe.drop[severe.apnea]) > 1.3 * np.median(severe.drop[~severe.apnea])


def test_events_too_close_together_are_left_out_in_turn():
    onset = np.array([0.0, 10.0, 18.0, 30.0, 100.0])
    kept = _are_spaced(onset, np.full(5, 10.0))
    assert kept.tolist() == [True, False, True, False, True]


def test_an_event_cannot_begin_in_the_last_minute():
    last = [events_of([N2] * 40, k, ahi=90.0).onset.max(initial=0) for k in range(60)]
    assert max(last) < 38 * 30


def test_a_dip_falls_to_its_depth_at_the_nadir_and_recovers():
    level = np.full(200, 95.0)
    _subtract_dips(level, 1, [20.0], [50.0], [8.0])
    assert level[50] == 87
    assert (level[:21] == 95).all()
    assert (np.diff(level[20:51]) < 0).all()
    assert (np.diff(level[50:73]) > 0).all()
    assert level[60] == pytest.approx(95 - 0.35 * 8)
    assert (level[72:] == 95).all()


def test_a_dip_beyond_the_end_is_cut_off():
    level = np.full(60, 95.0)
    _subtract_dips(level, 1, [50.0, 70.0], [65.0, 80.0], [6.0, 9.0])
    assert len(level) == 60
    assert level[59] == pytest.approx(95 - 6 * 9 / 15)


def test_saturation_does_not_fall_before_the_event_that_causes_it():
    stages = np.full(120, N2, dtype=np.int8)
    night = simulate(0, 120)
    one = RespiratoryEvents(*(np.array([v]) for v in (1800.0, 40.0, True, True, 20.0, 14.0)))
    none = RespiratoryEvents(*(np.empty(0) for _ in range(6)))
    with_event, without = (
        spo2(dataclasses.replace(night, true_stages=stages, respiratory=e), 1) for e in (one, none)
    )
    lost = without - with_event
    assert not lost[: 1800 + 8].any()
    assert lost[1845:1860].max() >= 15
    assert 1850 <= lost.argmax() <= 1858
    assert not lost[1800 + 40 + 14 + 24 :].any()


def test_breathing_stops_at_the_nose_for_the_event_and_overshoots_after_it():
    night = simulate(1, 120)
    apnea = RespiratoryEvents(*(np.array([v]) for v in (900.0, 30.0, True, True, 5.0, 14.0)))
    none = RespiratoryEvents(*(np.empty(0) for _ in range(6)))
    stopped, free = (breathe(dataclasses.replace(night, respiratory=e)) for e in (apnea, none))
    ratio, chest = stopped.flow / free.flow, stopped.effort / free.effort
    np.testing.assert_allclose(ratio[900 * 4 : 930 * 4], 0.04, rtol=1e-3)
    np.testing.assert_allclose(chest[900 * 4 : 930 * 4], 0.55, rtol=1e-3)
    np.testing.assert_allclose(ratio[930 * 4 : 939 * 4], 1.6, rtol=1e-3)
    np.testing.assert_allclose(ratio[: 900 * 4], 1, rtol=1e-6)
    np.testing.assert_allclose(ratio[939 * 4 :], 1, rtol=1e-6)
    np.testing.assert_array_equal(stopped.phase, free.phase)


@few
@given(seed=st.integers(0, 50))
def test_arousals_are_in_order_of_three_to_fifteen_seconds_and_inside(seed):
    night = simulate(seed)
    arousals = night.arousals
    assert (np.diff(arousals.onset) >= 0).all()
    assert ((arousals.duration >= 3) & (arousals.duration <= 15)).all()
    assert arousals.onset.max(initial=0) < night.duration - 20


def test_an_arousing_event_has_its_arousal_at_its_end():
    night = simulate(2)
    ends = night.respiratory.end[night.respiratory.arousing]
    ends = ends[ends < night.duration - 20]
    assert len(ends) > 5
    assert np.isin(ends, night.arousals.onset).all()


def test_spontaneous_arousals_happen_in_sleep_and_mostly_in_light_sleep():
    nights = [simulate(k, 960, ahi=0.3) for k in range(6)]
    found = np.concatenate([n.true_stages[(n.arousals.onset // 30).astype(int)] for n in nights])
    stages = np.concatenate([n.true_stages for n in nights])
    rate = np.bincount(found, minlength=5) / np.bincount(stages, minlength=5)
    assert rate[W] < 0.02
    assert rate[N1] > rate[N2] > rate[N3]


@few
@given(seed=st.integers(0, 50))
def test_movements_are_sorted_and_of_a_size_that_can_be(seed):
    moves = simulate(seed).movements
    assert (np.diff(moves.onset) >= 0).all()
    assert ((moves.size >= 0.02) & (moves.size <= 4)).all()
    assert ((moves.duration >= 0.5) & (moves.duration <= 40)).all()
    assert len(moves.onset) == len(moves.size) == len(moves.duration)


def test_movement_over_time_is_the_largest_at_each_moment():
    night = simulate(3, 60)
    track = movement_size(night, 4)
    assert track.shape == (60 * 30 * 4,)
    for onset, size in zip(night.movements.onset, night.movements.size, strict=True):
        assert track[int(onset * 4)] >= np.float32(size)
    assert track.max() == pytest.approx(night.movements.size.max())


@pytest.fixture(scope="module")
def recordings():
    return make_sleep_cohort(8, hours=4, missing=0, random_state=11, modalities="spo2")


def test_a_desaturation_follows_the_breath_that_caused_it(recordings):
    for recording in recordings:
        events = recording.events
        breaths = events[events["type"].isin(["obstructive_apnea", "hypopnea"])]
        for fall in events[events["type"] == "desaturation"].itertuples():
            before = breaths[breaths["onset"] < fall.onset]
            assert len(before) > 0
            cause = before.iloc[-1]
            assert 4.8 - 0.01 <= fall.onset - cause["onset"] <= 0.8 * 24 + 0.01
            assert fall.onset + fall.duration > cause["onset"] + cause["duration"]


def test_there_are_as_many_desaturations_as_events_of_three_percent(recordings):
    for recording in recordings:
        expected = recording._source.night.respiratory.desaturating.sum()
        assert (recording.events["type"] == "desaturation").sum() == expected


def test_every_duration_is_positive_and_the_table_is_plain(recordings):
    for recording in recordings:
        events = recording.events
        assert (events["duration"] > 0).all()
        assert isinstance(events.index, pd.RangeIndex)
        assert events["onset"].min() >= 0
