# SPDX-License-Identifier: BSD-3-Clause
"""The bundled stager: its nights, its training, and that it is measured as it is used."""

import numpy as np
import pytest

from benchmarks.weights import stager as script
from sleep2vec_sklearn import load_checkpoint, make_sleep_cohort, stage_night
from sleep2vec_sklearn.finetuning import stager
from sleep2vec_sklearn.finetuning.stager import load_stage_head

SENSORS = ["ibi", "spo2"]


@pytest.fixture(scope="module")
def checkpoint():
    return load_checkpoint("sleep2vec-mini")


@pytest.fixture(scope="module")
def cohort():
    return make_sleep_cohort(
        6, hours=1.5, modalities=SENSORS, missing=0, site_kinds="home", random_state=0
    )


@pytest.fixture(scope="module")
def nights(cohort, checkpoint):
    return script.encode(cohort, script.SIMULATED, checkpoint)


@pytest.fixture(scope="module")
def epochs(nights):
    return script.join(nights, ["eeg", *SENSORS])


@pytest.fixture(scope="module")
def trained(epochs, checkpoint):
    return script.train(epochs, checkpoint.sha256)


def test_tokens_are_relative_to_night(cohort, nights, epochs):
    assert len(epochs.stages) == sum((night.stages >= 0).sum() for night in cohort)
    assert [*np.unique(epochs.subjects)] == [f"simulated/{night.subject}" for night in cohort]
    assert [*epochs.rows] == ["spo2", "ibi"] or [*epochs.rows] == SENSORS
    for name in SENSORS:
        assert np.abs(nights[0].tokens[name].mean(axis=0)).max() < 3 * epochs.tokens[name].std()
        again = np.concatenate([night.tokens[name] for night in nights])
        np.testing.assert_array_equal(epochs.tokens[name], again)


def test_day_is_cut_around_sleep(cohort):
    night = cohort[0]
    assert script._night_of(night) == (0, night.n_epochs)

    class Day:
        n_epochs = 2650
        stages = np.where(np.abs(np.arange(2650) - 1300) < 400, 2, 0)

    assert script._night_of(Day) == (901 - 60, 1699 + 1 + 60)


def test_every_epoch_keeps_a_sensor():
    rng = np.random.default_rng(0)
    present = rng.random((500, 6)) < 0.4
    present[:, 0] |= ~present.any(axis=1)
    kept = script.drop(present, rng)
    assert kept.any(axis=1).all()
    assert not (kept & ~present).any()
    assert kept.sum() < 0.8 * present.sum()


def test_subjects_are_held_out_once():
    subjects = np.repeat([f"{source}/{i}" for source in "ab" for i in range(9)], 4)
    fold = script.deal(subjects)
    assert all(len(set(fold[subjects == subject])) == 1 for subject in subjects)
    assert np.ptp(np.bincount(fold)) == 0


def test_subjects_weigh_the_same(epochs):
    weights = script.weights_of(epochs)
    totals = [weights[epochs.subjects == who].sum() for who in np.unique(epochs.subjects)]
    np.testing.assert_allclose(totals, totals[0])
    assert weights.mean() == pytest.approx(1)


def test_votes_learn_repeatably(epochs):
    stages = epochs.stages[epochs.rows["ibi"]].astype(int)
    x = epochs.tokens["ibi"], epochs.deviations["ibi"][epochs.nights[epochs.rows["ibi"]]]
    votes = [script.fit_vote(*x, stages, np.ones(len(stages)))(*x) for _ in range(2)]
    np.testing.assert_array_equal(*votes)
    assert (votes[0].argmax(axis=1) == stages).mean() > 0.5


def test_combination_trusts_what_is_right():
    rng = np.random.default_rng(0)
    stages = rng.integers(0, 5, 2000)
    votes = rng.standard_normal((2000, 2, 5))
    votes[np.arange(2000), 0, stages] += 2
    votes[:500, 0] = np.nan
    trust, level, power = script.fit_combination(votes, stages, np.ones(2000))
    assert trust[0] > 3 * trust[1]
    assert np.ptp(level) < 0.5
    assert 0 < power < 1


def test_measured_as_it_is_used(cohort, epochs, trained, monkeypatch):
    head, *_ = trained
    monkeypatch.setattr(stager, "load_stage_head", lambda: head)
    votes = np.full((len(epochs.stages), len(epochs.rows), 5), np.nan)
    script.cast(head.votes, epochs, votes, np.ones(len(votes), dtype=bool))
    scored = cohort[0].stages >= 0
    for sensors in (SENSORS, ["ibi"]):
        used = [i for i, name in enumerate(epochs.rows) if name in sensors]
        part = np.full_like(votes, np.nan)
        part[:, used] = votes[:, used]
        found = head.combine(part)[0][: scored.sum()]
        staged = stage_night(cohort[0], modalities=sensors)
        np.testing.assert_allclose(found, staged.probabilities[scored], atol=0.01)


def test_command_writes_a_head(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(script, "SITE_KINDS", "wearable")
    monkeypatch.setattr(script, "N_FOLDS", 2)
    monkeypatch.setattr(script, "add_to_ledger", lambda *line: pytest.fail("no real nights"))
    path = tmp_path / "head.safetensors"
    arguments = ["--data", tmp_path, "--work", tmp_path / "work", "--out", path]
    for _ in range(2):  # the second time from kept tokens
        script.main([*map(str, arguments), "--subjects", "5", "--hours", "1"])
    card = load_stage_head(path).card
    assert card["simulated_nights"] == 5
    assert card["real_people"] == {}
    assert "| simulated | all |" in capsys.readouterr().out
