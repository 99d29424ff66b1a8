# SPDX-License-Identifier: BSD-3-Clause
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold

from sleep2vec_sklearn import EpochSequence, Recording, Sleep2VecCoxRegressor
from sleep2vec_sklearn.errors import InvalidRecordingError, TrainingWarning
from sleep2vec_sklearn.evaluation import (
    DynamicAUC,
    HarrellConcordance,
    IntegratedBrier,
    UnoConcordance,
    concordance_index,
    survival_outcome,
)
from sleep2vec_sklearn.finetuning import FullFineTuning, LoRA, _data, _net
from sleep2vec_sklearn.finetuning._losses import terms_of_rows

N_SUBJECTS = 40


def draw_outcome(risk, rng, hazard=0.3):
    time, end = rng.exponential(np.exp(-risk)) / hazard, rng.uniform(2, 12, len(risk))
    return survival_outcome(time <= end, np.minimum(time, end) + 0.01)


@pytest.fixture(scope="module")
def subjects():
    """Nights of subjects whose risk lowers their saturation, and their risks."""
    rng = np.random.default_rng(0)
    risk = rng.standard_normal(N_SUBJECTS) * 1.5
    nights = [
        Recording(
            {"spo2": 88 - 3 * r + 0.3 * rng.standard_normal(360)},
            rates={"spo2": 2},
            subject=f"p{i:02d}",
            metadata={"age": 50 + 5 * r},
        )
        for i, r in enumerate(risk)
    ]
    return nights, draw_outcome(risk, rng), risk


@pytest.fixture
def nights(subjects):
    return subjects[0]


@pytest.fixture
def y(subjects):
    return subjects[1].copy()


@pytest.fixture(scope="module")
def make(checkpoint_in_memory):
    """Function of parameters: a small estimator, not fitted."""

    def make(**parameters):
        small = {"max_epochs": 15, "dropout": 0.0, "modality_dropout": 0.0, "random_state": 0}
        return Sleep2VecCoxRegressor(checkpoint_in_memory, **{**small, **parameters})

    return make


@pytest.fixture(scope="module")
def fitted(make, subjects):
    """For tests that leave it as it is."""
    return make().fit(*subjects[:2])


def test_new_risks_are_in_order(make, subjects):
    nights, y, risk = subjects
    model = make(head="linear", weight_decay=1.0, patience=None).fit(nights[:30], y[:30])
    predicted = model.predict(nights[30:])
    assert predicted.dtype == np.float64
    assert np.corrcoef(predicted, risk[30:])[0, 1] > 0.8
    assert model.score(nights[30:], y[30:]) == concordance_index(y[30:], predicted)


def test_survival_falls(fitted, nights, y):
    risks, survival = fitted.predict(nights), fitted.predict_survival_function(nights)
    assert survival.shape == (N_SUBJECTS, len(fitted.event_times_))
    np.testing.assert_array_equal(fitted.event_times_, np.unique(y["time"][y["event"]]))
    assert ((survival > 0) & (survival < 1)).all()
    assert (np.diff(survival, axis=1) < 0).all()
    assert (np.diff(survival[np.argsort(risks)], axis=0) <= 0).all()
    early, late = fitted.predict_survival_function(nights, times=[0.001, 99]).T
    assert (early == 1).all()
    np.testing.assert_array_equal(late, survival[:, -1])
    with pytest.raises(ValueError, match="times must be a list"):
        fitted.predict_survival_function(nights, times=5)


def test_hazards_and_mean_risk(fitted, nights, y):
    hazards = [
        baseline.cumulative_hazard([risk], [time])[0, 0]
        for baseline in fitted.baselines_
        for risk, time in zip(fitted.predict(nights) + baseline.center, y["time"], strict=True)
    ]
    assert sum(hazards) == pytest.approx(y["event"].sum())
    assert fitted.predict(nights).mean() == pytest.approx(0, abs=1e-6)


def test_outcomes_are_columns(make, subjects):
    nights, y, risk = subjects
    other = draw_outcome(-risk, np.random.default_rng(1))
    both = np.stack([y, other], axis=1)
    both["time"][:6, 1] = np.nan
    model = make(max_epochs=60).fit(nights, both)
    risks = model.predict(nights)
    assert risks.shape == (N_SUBJECTS, 2)
    assert np.corrcoef(risks.T)[0, 1] < -0.5
    assert model.predict_survival_function(nights, times=[1, 2, 3]).shape == (N_SUBJECTS, 2, 3)
    assert model.score(nights, both) == concordance_index(both, risks)
    assert len(model.baselines_) == model.n_outcomes_ == 2


def test_chunks_change_nothing(make, nights, y, monkeypatch):
    options = {"max_epochs": 4, "dropout": 0.0, "patience": None}
    whole = make(**options).fit(nights, y).predict(nights)
    per_night = 4 * 32 * 6
    monkeypatch.setattr(_data, "_BYTES_OF_TOKENS", 5 * per_night)
    chunked = make(**options).fit(nights, y)
    np.testing.assert_allclose(chunked.predict(nights), whole, atol=1e-5)


def test_chunks_repeat_their_dropout(make, nights, y, monkeypatch):
    seen = []
    original = _net.CoxNet._training_outputs

    def record(self, chunk, number):
        outputs = original(self, chunk, number)
        seen.append((self.step_, number, outputs.detach()))
        return outputs

    monkeypatch.setattr(_net.CoxNet, "_training_outputs", record)
    monkeypatch.setattr(_data, "_BYTES_OF_TOKENS", 1)
    make(max_epochs=1, dropout=0.5, patience=None).fit(nights[:6], y[:6])
    assert [(step, number) for step, number, _ in seen] == [(0, i) for i in range(6)] * 2
    for first, second in zip(seen[:6], seen[6:], strict=True):
        torch.testing.assert_close(first[2], second[2])


def test_nights_of_subjects_are_one(make, nights, y):
    nights, y = nights[:12], y[:12]
    options = {"patience": None, "max_epochs": 5}
    once = make(**options).fit(nights, y)
    twice = make(**options).fit([*nights, *nights], np.concatenate([y, y]))
    np.testing.assert_allclose(twice.predict(nights), once.predict(nights), atol=1e-3)
    assert len(twice.training_outcomes_) == 12
    expected = once.predict_survival_function(nights)
    np.testing.assert_allclose(twice.predict_survival_function(nights), expected, atol=1e-3)
    lists = [[night, night] for night in nights]
    listed = make(**options).fit(lists, y).predict(lists)
    np.testing.assert_allclose(listed, once.predict(nights), atol=1e-3)


def test_late_entries(make, nights, y):
    entry = np.where(np.arange(N_SUBJECTS) % 3 == 0, y["time"] * 0.9, np.nan)
    late = survival_outcome(y["event"], y["time"], entry)
    start = survival_outcome(y["event"], y["time"], np.zeros(N_SUBJECTS))
    models = [
        make(patience=None, max_epochs=4).fit(nights, outcome) for outcome in (y, start, late)
    ]
    plain, same, other = (model.predict(nights) for model in models)
    np.testing.assert_allclose(same, plain, atol=1e-5)
    assert np.abs(other - plain).max() > 1e-2
    assert models[2].training_outcomes_.dtype.names == ("event", "time", "entry")


def test_held_out_subjects_stop_training(make, nights, y):
    model = make(max_epochs=200, patience=2).fit(nights, y)
    losses = model.history_[:, "valid_loss"]
    assert len(losses) < 200
    assert int(np.argmin(losses)) == len(losses) - 3
    assert "valid_loss" not in make(patience=None, max_epochs=4).fit(nights, y).history_[0]


def test_held_out_loss_by_definition():
    rng = torch.Generator().manual_seed(0)
    outputs = torch.randn(6, 1, generator=rng)
    facts = torch.tensor([[i, i, event] for i, event in enumerate([1, 0] * 3)])
    weights = torch.ones(6)
    sums, n_events = terms_of_rows(outputs, facts.float(), weights)
    assert n_events.tolist() == [3]
    trained, _ = terms_of_rows(outputs[:4], facts[:4].float(), weights[:4])
    late = torch.logsumexp(outputs[4:, 0].double(), 0) - outputs[4, 0].double()
    early = sum(
        torch.logsumexp(outputs[i:, 0].double(), 0) - torch.logsumexp(outputs[i:4, 0].double(), 0)
        for i in (0, 2)
    )
    torch.testing.assert_close((sums - trained)[0], late + early)


def test_covariates_and_batches(make, nights, y):
    model = make(covariates=("age",)).fit(nights, y)
    old = Recording(dict(nights[0]), rates={"spo2": 2}, metadata={"age": 90})
    young = Recording(dict(nights[0]), rates={"spo2": 2}, metadata={"age": 20})
    assert np.subtract(*model.predict([old, young])) > 0.1
    model = make(batch_size=9, max_epochs=15).fit(nights, y)
    assert model.score(nights, y) > 0.7


@pytest.mark.parametrize("finetune", ["lora", "full"])
def test_encoder_trains_through_cohort(make, nights, y, finetune):
    tuned = {"lora": LoRA(lr=1e-2), "full": FullFineTuning(lr=1e-2)}[finetune]
    model = make(finetune=tuned, max_epochs=1, patience=None, cache=None)
    model.fit(nights[:9], y[:9])
    frozen = make(max_epochs=1, patience=None).fit(nights[:9], y[:9])
    assert np.isfinite(model.predict(nights)).all()
    assert np.abs(model.predict(nights) - frozen.predict(nights)).max() > 1e-4


@pytest.mark.parametrize("left_out", ["unknown", "weightless"])
def test_left_out_rows_change_nothing(make, nights, y, left_out):
    weights = None
    if left_out == "unknown":
        y["time"][30:] = np.nan
    else:
        weights = np.repeat([1.0, 0.0], [30, 10])
    model = make(patience=None, max_epochs=4).fit(nights, y, sample_weight=weights)
    expected = make(patience=None, max_epochs=4).fit(nights[:30], y[:30])
    np.testing.assert_allclose(model.predict(nights), expected.predict(nights), atol=1e-5)
    np.testing.assert_allclose(model.event_times_, expected.event_times_)
    assert len(model.training_outcomes_) == 30


def test_search_with_several_scores(make, nights, y):
    kinds = {"harrell": HarrellConcordance, "uno": UnoConcordance, "auc": DynamicAUC}
    scoring = {name: kind() for name, kind in {**kinds, "brier": IntegratedBrier}.items()}
    options = {"scoring": scoring, "refit": "uno", "cv": KFold(2), "error_score": "raise"}
    search = GridSearchCV(make(), {"lr": [1e-6, 1e-2]}, **options).fit(nights, y)
    assert search.best_params_ == {"lr": 1e-2}
    for name in scoring:
        assert np.isfinite(search.cv_results_[f"mean_test_{name}"]).all()


@pytest.mark.parametrize("way", ["pickle", "file"])
def test_copies_predict_the_same(fitted, nights, y, tmp_path, way):
    if way == "pickle":
        copy = pickle.loads(pickle.dumps(fitted))
    else:
        fitted.save(tmp_path / "risk.safetensors")
        copy = Sleep2VecCoxRegressor.load(tmp_path / "risk.safetensors")
    np.testing.assert_array_equal(copy.predict(nights), fitted.predict(nights))
    survival = [m.predict_survival_function(nights) for m in (copy, fitted)]
    np.testing.assert_array_equal(*survival)
    np.testing.assert_array_equal(copy.training_outcomes_, fitted.training_outcomes_)
    assert UnoConcordance()(copy, nights, y) == UnoConcordance()(fitted, nights, y)
    for method in ("predict", "predict_survival_function"):
        with pytest.raises(NotFittedError):
            getattr(clone(fitted), method)(nights)


def change(y, **fields):
    y = y.copy()
    for name, values in fields.items():
        y[name] = values
    return y


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [(lambda y: change(y, event=False), ValueError, "no event in 40 rows: all are censored"),
     (lambda y: change(y, time=np.nan), ValueError, "y holds nothing but NaN in 40 rows"),
     (lambda y: change(y, time=-1), ValueError, "40 of 40 times are not above zero"),
     (lambda y: change(y, time=0), ValueError, "row 0, is 0"),
     (lambda y: y[["event"]], ValueError, "lacks time.*survival_outcome"),
     (lambda y: y["time"], TypeError, "structured array with the fields"),
     (lambda y: y[:-1], ValueError, "y has 39 outcomes and X 40 elements")],
)  # fmt: skip
def test_impossible_outcomes_are_refused(make, nights, y, spoil, error, message):
    with pytest.raises(error, match=message):
        make().fit(nights, spoil(y))


def test_outcomes_need_an_event(make, nights, y):
    both = np.stack([y, change(y, time=np.nan)], axis=1)
    with pytest.raises(ValueError, match="outcome 1 of y holds nothing but NaN"):
        make().fit(nights, both)
    both = np.stack([y, change(y, event=False)], axis=1)
    with pytest.warns(TrainingWarning, match="no event of the outcomes 1"):
        model = make(max_epochs=2).fit(nights, both)
    assert (model.predict_survival_function(nights)[:, 1] == 1).all()


def test_nights_share_one_outcome(make, nights, y):
    twice = np.concatenate([y, change(y[:1], time=y["time"][0] + 1)])
    with pytest.raises(ValueError, match=r"nights of the subject 'p00' have different.*'time' is"):
        make().fit([*nights, nights[0]], twice)
    twice = np.concatenate([y, change(y[:1], time=np.nan)])
    model = make(max_epochs=1).fit([*nights, nights[0]], twice)
    assert len(model.training_outcomes_) == N_SUBJECTS


def test_unfit_nights_are_refused(make, fitted, nights, y):
    with pytest.raises(ValueError, match="no comparable pair"):
        fitted.score(nights[:1], y[:1])
    epochs = EpochSequence(nights[:2])
    of_epochs = survival_outcome(np.ones(len(epochs)), np.ones(len(epochs)))
    with pytest.raises(InvalidRecordingError, match=r"X holds epochs.*\.recordings"):
        make().fit(epochs, of_epochs)
