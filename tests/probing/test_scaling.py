# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sleep2vec_sklearn import Sleep2VecPretrainer, fit_scaling_law
from sleep2vec_sklearn.errors import Sleep2VecWarning
from sleep2vec_sklearn.pretraining import NightStore, contents_of
from sleep2vec_sklearn.probing import run_scaling_sweep
from tests.pretraining.nights import make_night, tiny_pretrainer

SIZES = np.repeat([4.0, 8, 16, 32, 64, 128], 2)


def points_of(y, x=SIZES):
    return pd.DataFrame({"n_nights": x, "loss": y})


def fit(y, **options):
    return fit_scaling_law(points_of(y), x="n_nights", **{"n_resamples": 3, **options})


@settings(max_examples=25)
@given(a=st.floats(0, 3), b=st.floats(0.5, 5), c=st.floats(0.2, 2), unit=st.sampled_from([1, 1e4]))
def test_noiseless_law_is_recovered(a, b, c, unit):
    y = a + b * SIZES**-c
    law = fit_scaling_law(points_of(y, SIZES * unit), x="n_nights", n_resamples=3)
    np.testing.assert_allclose([law.a, law.b, law.c], [a, b * unit**c, c], rtol=0.01, atol=0.02)
    np.testing.assert_allclose(law.predict(SIZES * unit)["y"], y, rtol=1e-3)


def test_intervals_widen_beyond_points():
    rng = np.random.default_rng(0)
    law = fit(1 + 3 * SIZES**-0.5 + 0.03 * rng.standard_normal(len(SIZES)), n_resamples=200)
    table = law.parameters.set_index("parameter")
    assert table.loc["c", "low"] < 0.5 < table.loc["c", "high"]
    assert 0.9 < law.r2 < 1
    curve = law.predict([16, 1e5])
    width = curve["high"] - curve["low"]
    assert width[1] > 2 * width[0]
    assert curve["extrapolated"].tolist() == [False, True]


def test_measures_rise_and_are_bounded():
    law = fit(0.8 - 0.6 * SIZES**-0.5, asymptote=(0, 1))
    assert (law.a, law.b, law.c) == pytest.approx((0.8, -0.6, 0.5), abs=0.01)
    law = fit(3 - 0.4 * np.log(SIZES), n_resamples=20)
    assert (law.predict([1e3, 1e9])["low"] >= 0).all()
    y = 1 + np.random.default_rng(0).standard_normal(len(SIZES))
    with pytest.warns(Sleep2VecWarning, match="the points do not fix a law"):
        fit(y, asymptote=(-9, 9), n_resamples=100)


def test_axis_is_read_from_sweep():
    points = points_of(1 + SIZES**-1.0).assign(axis="n_nights")
    assert fit_scaling_law(points, n_resamples=3).x_name == "n_nights"
    with pytest.raises(ValueError, match="rows of one axis"):
        fit_scaling_law(pd.concat([points, points.assign(axis="n_modalities")]))
    with pytest.raises(ValueError, match="no column 'axis'"):
        fit_scaling_law(points_of(SIZES))


@pytest.mark.parametrize(
    ("points", "message"),
    [(points_of(SIZES[:6], [1, 2, 3, 1, 2, 3]), "3 different values of n_nights"),
     (points_of(np.r_[np.nan, SIZES[1:]]), "row 0 of points has n_nights=4 and loss=nan"),
     (points_of(SIZES, np.r_[0, SIZES[1:]]), "sizes must be positive"),
     (points_of(np.ones(len(SIZES))), "is 1 at all sizes"),
     (pd.DataFrame({"n_nights": SIZES}), "no column 'loss'")],
)  # fmt: skip
def test_points_too_few_are_refused(points, message):
    with pytest.raises(ValueError, match=message):
        fit_scaling_law(points, x="n_nights")


def test_invalid_bounds_are_refused():
    with pytest.raises(ValueError, match="two rising numbers around the values"):
        fit(1 + 1 / SIZES, asymptote=(5, 9))
    with pytest.raises(ValueError, match="x must be positive"):
        fit(1 + 1 / SIZES).predict([0, 1])


@pytest.fixture(scope="module")
def store():
    """Twelve nights of six subjects, three sensors."""
    nights = [make_night(number) for number in (0, 1, 3, 4, 6, 7) * 2]
    for index, night in enumerate(nights):
        night.id, night.subject = f"n{index}", f"s{index // 2}"
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


def test_one_axis_at_a_time(tiny, store):
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


def test_training_nights_are_nested(tiny, store, fits):
    run_scaling_sweep(tiny, store, {"n_nights": [2, 4, 8]}, held_out=["s0", "s5"], n_repeats=2)
    held = {"n0", "n1", "n10", "n11"}
    training = [set(nights) - held for nights in fits]
    assert all(held < set(nights) for nights in fits)
    assert [len(nights) for nights in training] == [2, 2, 4, 4, 8, 8]
    assert training[0] < training[2] < training[4]
    assert training[1] < training[3] < training[5]
    assert training[0] != training[1]


def test_finished_runs_are_reused(tiny, store, fits, tmp_path):
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


def test_evaluate_adds_measures(tiny, store):
    sweeps = {"n_modalities": [["effort", "spo2"], ["effort", "ibi"]]}
    points = run_scaling_sweep(
        tiny, store, sweeps, evaluate=lambda fitted: {"pairs": len(fitted.pairs_)}
    )
    assert points["pairs"].tolist() == [1, 1]
    # no pair is in both, so no loss compares them
    assert points[["loss", "recall"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("sweeps", "message"),
    [({}, "no axis"), ({"n_hours": [1]}, "'n_hours'"), ({"n_nights": [1]}, "from 2 to"),
     ({"n_nights": [99]}, "from 2 to"), ({"n_modalities": [4]}, r"2 to 3 \(effort, spo2, ibi\)"),
     ({"n_modalities": [["ibi", "eeg"]]}, "two or more of effort, spo2, ibi"),
     ({"n_parameters": [{"width": 3}]}, "mappings of the pretrainer's parameters")],
)  # fmt: skip
def test_invalid_sweeps_are_refused(tiny, store, sweeps, message):
    with pytest.raises(ValueError, match=message):
        run_scaling_sweep(tiny, store, sweeps)


def test_empty_held_out_is_refused(tiny, store):
    with pytest.raises(ValueError, match="leaves no subject to measure on"):
        run_scaling_sweep(tiny, store, {"n_nights": [2]}, held_out=0)
