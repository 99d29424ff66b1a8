# SPDX-License-Identifier: BSD-3-Clause
"""The bundled stager: its nights, its training, and that it is measured as it is used."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.weights import stager as script
from sleep2vec_sklearn import load_checkpoint, make_sleep_cohort, stage_night
from sleep2vec_sklearn.finetuning import stager
from sleep2vec_sklearn.finetuning.stager import STAGES, StageHead, load_stage_head
from sleep2vec_sklearn.recordings import EPOCH_SECONDS


@pytest.fixture(scope="module")
def cohort():
    return make_sleep_cohort(
        5, hours=0.5, modalities=["ibi", "spo2"], missing=0, site_kinds="home", random_state=0
    )


@pytest.fixture(scope="module")
def table(cohort):
    return script.encode(cohort, "simulated")


def test_rows_are_relative_to_night(cohort, table):
    assert len(table) == sum((night.stages >= 0).sum() for night in cohort)
    assert [*np.unique(table.subjects)] == [f"simulated/{night.subject}" for night in cohort]
    place = table.modalities.index("ibi")
    first = table.subjects == table.subjects[0]
    off, on = (int(seconds // EPOCH_SECONDS) for seconds in cohort[0].lights)
    np.testing.assert_allclose(table.tokens[first, place][off:on].mean(axis=0), 0, atol=0.03)
    assert not table.present[:, table.modalities.index("eeg")].any()


def test_day_is_cut_around_sleep(cohort):
    night = cohort[0]
    assert script._night_of(night) == (0, night.n_epochs)

    class Day:
        n_epochs = 2650
        stages = np.where(np.abs(np.arange(2650) - 1300) < 400, 2, 0)

    assert script._night_of(Day) == (901 - 60, 1699 + 1 + 60)


def test_tables_are_cached(table, tmp_path, cohort):
    path = tmp_path / "table.npz"
    made = script.kept(path, cohort, "simulated")
    again = script.kept(path, [], "simulated")
    for name in ("tokens", "present", "stages", "subjects"):
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
    assert again.modalities == table.modalities


def test_every_epoch_keeps_a_sensor(table):
    rng = np.random.default_rng(0)
    present = rng.random((500, 6)) < 0.4
    present[:, 0] |= ~present.any(axis=1)
    kept = script._drop(present, rng)
    assert kept.any(axis=1).all()
    assert not (kept & ~present).any()
    assert kept.sum() < 0.8 * present.sum()


def test_head_learns_repeatably(table, monkeypatch):
    monkeypatch.setattr(script, "BATCH", 128)
    head = script.fit_head([table], ["simulated"])
    again = script.fit_head([table], ["simulated"])
    np.testing.assert_array_equal(head.weight, again.weight)
    part, found = script.predict({0: head}, table, np.zeros(len(table), dtype=int), ())
    share = np.bincount(table.stages, minlength=5).max() / len(table)
    assert (found.argmax(axis=1) == part.stages).mean() > share


def test_evaluation_matches_stage_night(cohort, table, monkeypatch):
    rng = np.random.default_rng(0)
    width = table.tokens.shape[2]
    weight = 0.1 * rng.standard_normal((len(table.modalities), width, len(STAGES)))
    bias = rng.standard_normal((len(table.modalities), len(STAGES)))
    sha256 = load_checkpoint("sleep2vec-mini").sha256
    trust = rng.uniform(0.5, 3, len(table.modalities))
    head = StageHead(table.modalities, weight, bias, trust, sha256)
    monkeypatch.setattr(stager, "load_stage_head", lambda: head)
    for subset in ((), ("ibi",)):
        _, found = script.predict({0: head}, table, np.zeros(len(table), dtype=int), subset)
        used = stage_night(cohort[0], modalities=subset or None).probabilities
        np.testing.assert_allclose(found[: len(used)], used, atol=0.01)


def test_subjects_are_held_out_once(table, tmp_path):
    folds = script.deal({"a": table, "b": replace(table, subjects=np.full(len(table), "b/x"))})
    for subject in np.unique(table.subjects):
        assert len(set(folds["a"][table.subjects == subject])) == 1
    assert set(folds["b"]) == {1}
    assert script.real_nights(tmp_path) == {}
    people = script.simulated_nights(4)
    assert len({night.subject for night in people}) == 4


def test_command_writes_a_head(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(script, "SITE_KINDS", "wearable")
    monkeypatch.setattr(script, "N_FOLDS", 1)
    monkeypatch.setattr(script, "BATCH", 64)
    path = tmp_path / "head.safetensors"
    arguments = ["--data", tmp_path, "--work", tmp_path / "work", "--out", path]
    script.main([*map(str, arguments), "--subjects", "5", "--hours", "0.25"])
    card = load_stage_head(path).card
    assert card["simulated_nights"] == 5
    assert card["real_people"] == {}
    assert "| simulated | all | 5 |" in capsys.readouterr().out
