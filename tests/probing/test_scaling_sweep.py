# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest

from sleep2vec_sklearn import Sleep2VecPretrainer
from sleep2vec_sklearn.pretraining import NightStore, contents_of
from sleep2vec_sklearn.probing import run_scaling_sweep
from tests.pretraining.nights import make_night, tiny_pretrainer


@pytest.fixture(scope="module")
def store():
    """Twelve nights of six people, three sensors."""
    nights = [make_night(number) for number in (0, 1, 3, 4, 6, 7) * 2]
    for place, night in enumerate(nights):
        night.id, night.subject = f"n{place}", f"s{place // 2}"
    return NightStore.from_recordings(nights, contents_of(modalities=["effort", "spo2", "ibi"]))


@pytest.fixture
def tiny():
    return tiny_pretrainer(max_epochs=1, steps_per_epoch=2)


@pytest.fixture
def fits(monkeypatch):
    """Nights that each run was fitted on."""
    seen = []
    original = Sleep2VecPretrainer.fit

    def watch(self, X, *args, **kwargs):
        seen.append(X.table.index.tolist())
        return original(self, X, *args, **kwargs)

    monkeypatch.setattr(Sleep2VecPretrainer, "fit", watch)
    return seen


def test_one_axis_is_swept_at_a_time(tiny, store):
    sweeps = {
        "n_nights": [2, 8],
        "n_modalities": [2, ["effort", "ibi", "spo2"]],
        "n_parameters": [8, {"encoder__hidden_size": 16, "encoder__n_layers": 2}],
    }
    points = run_scaling_sweep(tiny, store, sweeps, held_out=2)
    assert points["n_nights"].tolist() == [2, 8, 8, 8, 8, 8]
    assert points["n_modalities"].tolist() == [3, 3, 2, 3, 3, 3]
    parameters = points["n_parameters"].tolist()
    assert parameters[0] == parameters[1] == parameters[4] < parameters[5]
    assert np.isfinite(points["loss"]).all()
    assert points["recall"].between(0, 1).all()


def test_nights_are_nested_and_nobody_trains_who_is_held_out(tiny, store, fits):
    run_scaling_sweep(tiny, store, {"n_nights": [2, 4, 8]}, held_out=["s0", "s5"], n_repeats=2)
    held = {"n0", "n1", "n10", "n11"}
    training = [set(nights) - held for nights in fits]
    assert all(held < set(nights) for nights in fits)
    assert [len(nights) for nights in training] == [2, 2, 4, 4, 8, 8]
    assert training[0] < training[2] < training[4]
    assert training[1] < training[3] < training[5]
    assert training[0] != training[1]


def test_finished_runs_are_kept_and_others_are_not_taken_for_them(tiny, store, fits, tmp_path):
    path = tmp_path / "points.jsonl"
    first = run_scaling_sweep(tiny, store, {"n_nights": [2, 4]}, path=path)
    with path.open("a") as file:
        file.write('{"key": "cut o')
    again = run_scaling_sweep(tiny, store, {"n_nights": [2, 4, 8]}, path=path)
    assert len(fits) == 3
    assert again.iloc[:2].equals(first)
    run_scaling_sweep(tiny, store, {"n_nights": [2, 4, 8]}, path=path)
    assert len(fits) == 3
    run_scaling_sweep(tiny.set_params(optimizer__lr=1e-4), store, {"n_nights": [2]}, path=path)
    assert len(fits) == 4


def test_further_measures_are_taken_of_each_fitted_encoder(tiny, store):
    points = run_scaling_sweep(
        tiny,
        store,
        {"n_modalities": [["effort", "spo2"], ["effort", "ibi"]]},
        evaluate=lambda fitted: {"pairs": len(fitted.pairs_)},
    )
    assert points["pairs"].tolist() == [1, 1]
    # no pair is in both, so no loss compares them
    assert points[["loss", "recall"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("sweeps", "message"),
    [
        ({}, "no axis"),
        ({"n_hours": [1]}, "'n_hours'"),
        ({"n_nights": [1]}, "from 2 to"),
        ({"n_nights": [99]}, "from 2 to"),
        ({"n_modalities": [4]}, r"2 to 3 \(effort, spo2, ibi\)"),
        ({"n_modalities": [["ibi", "eeg"]]}, "two or more of effort, spo2, ibi"),
        ({"n_parameters": [{"width": 3}]}, "mappings of the pretrainer's parameters"),
    ],
)
def test_sweeps_that_make_no_sense_are_refused(tiny, store, sweeps, message):
    with pytest.raises(ValueError, match=message):
        run_scaling_sweep(tiny, store, sweeps)


def test_somebody_is_held_out(tiny, store):
    with pytest.raises(ValueError, match="leaves nobody to measure on"):
        run_scaling_sweep(tiny, store, {"n_nights": [2]}, held_out=0)
