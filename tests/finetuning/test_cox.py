# SPDX-License-Identifier: BSD-3-Clause
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, KFold

from sleep2vec_sklearn import EpochSequence, Recording, Sleep2VecCoxRegressor
from sleep2vec_sklearn.checks import check_sleep2vec_estimator
from sleep2vec_sklearn.errors import InvalidRecordingError, TrainingWarning
from sleep2vec_sklearn.evaluation import (
    DynamicAUC,
    HarrellConcordance,
    IntegratedBrier,
    UnoConcordance,
    concordance_index,
    survival_outcome,
)

N_PEOPLE = 40


def draw_outcome(risk, rng, hazard=0.3):
    time, end = rng.exponential(np.exp(-risk)) / hazard, rng.uniform(2, 12, len(risk))
    return survival_outcome(time <= end, np.minimum(time, end) + 0.01)


@pytest.fixture(scope="module")
def people():
    """Nights of people whose risk lowers their saturation, and their risks."""
    rng = np.random.default_rng(0)
    risk = rng.standard_normal(N_PEOPLE) * 1.5
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
def make(checkpoint_in_memory):
    """Function of parameters: a small estimator, not fitted."""

    def make(**parameters):
        small = {"max_epochs": 15, "dropout": 0.0, "modality_dropout": 0.0, "random_state": 0}
        return Sleep2VecCoxRegressor(checkpoint_in_memory, **{**small, **parameters})

    return make


@pytest.fixture
def fitted(make, people):
    return make().fit(*people[:2])


def test_risks_of_new_people_are_in_order(make, people):
    nights, y, risk = people
    model = make(head="linear", weight_decay=1.0, patience=None).fit(nights[:30], y[:30])
    predicted = model.predict(nights[30:])
    assert predicted.dtype == np.float64
    assert np.corrcoef(predicted, risk[30:])[0, 1] > 0.8
    assert model.score(nights[30:], y[30:]) == concordance_index(y[30:], predicted)


def test_survival_falls_with_time_and_with_risk(fitted, people):
    nights, y, _ = people
    risks, survival = fitted.predict(nights), fitted.predict_survival_function(nights)
    assert survival.shape == (N_PEOPLE, len(fitted.event_times_))
    np.testing.assert_array_equal(fitted.event_times_, np.unique(y["time"][y["event"]]))
    assert ((survival > 0) & (survival < 1)).all()
    assert (np.diff(survival, axis=1) < 0).all()
    assert (np.diff(survival[np.argsort(risks)], axis=0) <= 0).all()
    early, late = fitted.predict_survival_function(nights, times=[0.001, 99]).T
    assert (early == 1).all()
    np.testing.assert_array_equal(late, survival[:, -1])
    with pytest.raises(ValueError, match="times must be a list"):
        fitted.predict_survival_function(nights, times=5)


def test_predicted_deaths_are_as_many_as_there_were(fitted, people):
    nights, y, _ = people
    hazards = [
        baseline.cumulative_hazard([risk], [time])[0, 0]
        for baseline in fitted.baselines_
        for risk, time in zip(fitted.predict(nights) + baseline.center, y["time"], strict=True)
    ]
    assert sum(hazards) == pytest.approx(y["event"].sum())


def test_several_outcomes_are_columns_and_missing_ones_are_left_out(make, people):
    nights, y, risk = people
    other = draw_outcome(-risk, np.random.default_rng(1))
    both = np.stack([y, other], axis=1)
    both["time"][:6, 1] = np.nan
    model = make(max_epochs=60).fit(nights, both)
    risks = model.predict(nights)
    assert risks.shape == (N_PEOPLE, 2)
    assert np.corrcoef(risks.T)[0, 1] < -0.5
    assert model.predict_survival_function(nights, times=[1, 2, 3]).shape == (N_PEOPLE, 2, 3)
    assert model.score(nights, both) == concordance_index(both, risks)
    assert len(model.baselines_) == model.n_outcomes_ == 2


def test_the_step_is_the_same_however_many_nights_fit_in_memory(make, people, monkeypatch):
    from sleep2vec_sklearn.finetuning import _cox_training as cox_training

    nights, y, _ = people
    options = {"max_epochs": 4, "dropout": 0.0, "patience": None}
    whole = make(**options).fit(nights, y).predict(nights)
    per_night = 4 * 32 * 6
    monkeypatch.setattr(cox_training, "_BYTES_OF_TOKENS", 5 * per_night)
    chunked = make(**options).fit(nights, y)
    np.testing.assert_allclose(chunked.predict(nights), whole, atol=1e-5)


def test_chunks_are_gone_through_with_the_same_dropout(make, people, monkeypatch):
    from sleep2vec_sklearn.finetuning import _cox_training as cox_training

    nights, y, _ = people
    seen = []
    original = cox_training.CoxNet._random_outputs

    def record(self, chunk, plan, step, place):
        outputs = original(self, chunk, plan, step, place)
        seen.append((step, place, outputs.detach()))
        return outputs

    monkeypatch.setattr(cox_training.CoxNet, "_random_outputs", record)
    monkeypatch.setattr(cox_training, "_BYTES_OF_TOKENS", 1)
    make(max_epochs=1, dropout=0.5, patience=None).fit(nights[:6], y[:6])
    assert [(step, place) for step, place, _ in seen] == [(0, i) for i in range(6)] * 2
    for first, second in zip(seen[:6], seen[6:], strict=True):
        torch.testing.assert_close(first[2], second[2])


def test_rows_without_an_outcome_change_nothing(make, people):
    nights, y, _ = people
    y = y.copy()
    y["time"][30:] = np.nan
    found = make(patience=None, max_epochs=4).fit(nights, y)
    expected = make(patience=None, max_epochs=4).fit(nights[:30], y[:30])
    np.testing.assert_allclose(found.predict(nights), expected.predict(nights), atol=1e-5)
    assert len(found.training_outcomes_) == 30


def test_nights_of_a_person_count_as_one(make, people):
    nights, y, _ = people
    nights, y = nights[:12], y[:12]
    options = {"patience": None, "max_epochs": 5}
    once = make(**options).fit(nights, y)
    twice = make(**options).fit([*nights, *nights], np.concatenate([y, y]))
    np.testing.assert_allclose(twice.predict(nights), once.predict(nights), atol=1e-3)
    assert len(twice.training_outcomes_) == 12
    expected = once.predict_survival_function(nights)
    np.testing.assert_allclose(twice.predict_survival_function(nights), expected, atol=1e-3)


def test_a_person_may_be_a_list_of_nights(make, people):
    nights, y, _ = people
    lists = [[night, night] for night in nights[:12]]
    found = make(patience=None, max_epochs=5).fit(lists, y[:12]).predict(lists)
    expected = make(patience=None, max_epochs=5).fit(nights[:12], y[:12]).predict(nights[:12])
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_late_entries_leave_early_risk_sets(make, people):
    nights, y, _ = people
    entry = np.where(np.arange(N_PEOPLE) % 3 == 0, y["time"] * 0.9, np.nan)
    late = survival_outcome(y["event"], y["time"], entry)
    start = survival_outcome(y["event"], y["time"], np.zeros(N_PEOPLE))
    models = [
        make(patience=None, max_epochs=4).fit(nights, outcome) for outcome in (y, start, late)
    ]
    plain, same, other = (model.predict(nights) for model in models)
    np.testing.assert_allclose(same, plain, atol=1e-5)
    assert np.abs(other - plain).max() > 1e-2
    assert models[2].training_outcomes_.dtype.names == ("event", "time", "entry")


def test_held_out_subjects_stop_the_training(make, people):
    nights, y, _ = people
    model = make(max_epochs=200, patience=2).fit(nights, y)
    losses = model.history_[:, "valid_loss"]
    assert len(losses) < 200
    assert int(np.argmin(losses)) == len(losses) - 3
    assert "valid_loss" not in make(patience=None, max_epochs=4).fit(nights, y).history_[0]


def test_the_held_out_loss_is_the_likelihood_they_add(make, people):
    from sleep2vec_sklearn.finetuning._cox_training import terms_of_rows

    rng = torch.Generator().manual_seed(0)
    outputs = torch.randn(6, 1, generator=rng)
    facts = torch.tensor(
        [[i, t, e] for i, (t, e) in enumerate(zip(range(6), [1, 0] * 3, strict=True))]
    )
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


def test_covariates_are_read(make, people):
    nights, y, _ = people
    model = make(covariates=("age",)).fit(nights, y)
    old = Recording(dict(nights[0]), rates={"spo2": 2}, metadata={"age": 90})
    young = Recording(dict(nights[0]), rates={"spo2": 2}, metadata={"age": 20})
    assert np.subtract(*model.predict([old, young])) > 0.1


def test_the_mean_person_has_a_risk_of_zero(fitted, people):
    assert fitted.predict(people[0]).mean() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("finetune", ["lora", "full"])
def test_the_encoder_is_trained_through_the_whole_cohort(make, people, finetune):
    nights, y, _ = people
    model = make(finetune=finetune, max_epochs=1, patience=None, cache=None, encoder_lr=1e-2)
    model.fit(nights[:9], y[:9])
    frozen = make(max_epochs=1, patience=None).fit(nights[:9], y[:9])
    assert np.isfinite(model.predict(nights)).all()
    assert np.abs(model.predict(nights) - frozen.predict(nights)).max() > 1e-4


def test_steps_may_take_some_of_the_people(make, people):
    nights, y, _ = people
    model = make(batch_size=9, max_epochs=15).fit(nights, y)
    assert model.score(nights, y) > 0.7


def test_the_same_seed_gives_the_same_risks_and_no_other_state_is_touched(make, people):
    nights, y, _ = people
    before = torch.random.get_rng_state()
    first, second, other = (
        make(dropout=0.3, random_state=seed, max_epochs=3).fit(nights, y).predict(nights)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - other).max() > 1e-4
    assert torch.equal(torch.random.get_rng_state(), before)


def test_weights_of_zero_leave_people_out(make, people):
    nights, y, _ = people
    weights = np.repeat([1.0, 0.0], [30, 10])
    found = make(patience=None, max_epochs=4).fit(nights, y, sample_weight=weights)
    expected = make(patience=None, max_epochs=4).fit(nights[:30], y[:30])
    np.testing.assert_allclose(found.predict(nights), expected.predict(nights), atol=1e-5)
    np.testing.assert_allclose(found.event_times_, expected.event_times_)


def test_it_is_searched_with_several_scores_at_once(make, people):
    nights, y, _ = people
    scoring = {
        "harrell": HarrellConcordance(),
        "uno": UnoConcordance(),
        "auc": DynamicAUC(),
        "brier": IntegratedBrier(),
    }
    search = GridSearchCV(
        make(),
        {"lr": [1e-6, 1e-2]},
        scoring=scoring,
        refit="uno",
        cv=KFold(2),
        error_score="raise",
    ).fit(nights, y)
    assert search.best_params_ == {"lr": 1e-2}
    for name in scoring:
        assert np.isfinite(search.cv_results_[f"mean_test_{name}"]).all()


def test_it_is_cloned_and_pickled(fitted, people):
    nights, y, _ = people
    copy = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(copy.predict(nights), fitted.predict(nights))
    np.testing.assert_array_equal(
        copy.predict_survival_function(nights), fitted.predict_survival_function(nights)
    )
    assert UnoConcordance()(copy, nights, y) == UnoConcordance()(fitted, nights, y)
    with pytest.raises(NotFittedError):
        clone(fitted).predict(nights)
    with pytest.raises(NotFittedError):
        clone(fitted).predict_survival_function(nights)


def test_a_file_holds_all_of_it(fitted, people, tmp_path):
    nights, y, _ = people
    fitted.save(tmp_path / "risk.safetensors")
    copy = Sleep2VecCoxRegressor.load(tmp_path / "risk.safetensors")
    np.testing.assert_array_equal(copy.predict(nights), fitted.predict(nights))
    np.testing.assert_array_equal(
        copy.predict_survival_function(nights), fitted.predict_survival_function(nights)
    )
    np.testing.assert_array_equal(copy.training_outcomes_, fitted.training_outcomes_)
    assert UnoConcordance()(copy, nights, y) == UnoConcordance()(fitted, nights, y)


def change(y, **fields):
    y = y.copy()
    for name, values in fields.items():
        y[name] = values
    return y


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda y: change(y, event=False), ValueError, "no event in 40 rows: all are censored"),
        (lambda y: change(y, time=np.nan), ValueError, "y holds nothing but NaN in 40 rows"),
        (lambda y: change(y, time=-1), ValueError, "40 of 40 times are not above zero"),
        (lambda y: change(y, time=0), ValueError, "is 0. A follow-up takes time"),
        (lambda y: y[["event"]], ValueError, "lacks time.*survival_outcome"),
        (lambda y: y["time"], TypeError, "structured array with the fields"),
        (lambda y: y[:-1], ValueError, "y has 39 outcomes and X 40 elements"),
    ],
)
def test_outcomes_that_cannot_be_are_refused(make, people, spoil, error, message):
    nights, y, _ = people
    with pytest.raises(error, match=message):
        make().fit(nights, spoil(y))


def test_an_outcome_that_nobody_has_is_named(make, people):
    nights, y, _ = people
    both = np.stack([y, change(y, time=np.nan)], axis=1)
    with pytest.raises(ValueError, match="outcome 1 of y holds nothing but NaN"):
        make().fit(nights, both)


def test_an_outcome_without_an_event_is_told(make, people):
    nights, y, _ = people
    both = np.stack([y, change(y, event=False)], axis=1)
    with pytest.warns(TrainingWarning, match="no event of the outcomes 1"):
        model = make(max_epochs=2).fit(nights, both)
    assert (model.predict_survival_function(nights)[:, 1] == 1).all()


def test_different_outcomes_of_one_persons_nights_are_refused(make, people):
    nights, y, _ = people
    twice = np.concatenate([y, change(y[:1], time=y["time"][0] + 1)])
    with pytest.raises(ValueError, match=r"nights of the subject 'p00' have different.*'time' is"):
        make().fit([*nights, nights[0]], twice)


def test_a_night_without_an_outcome_takes_that_of_the_persons_others(make, people):
    nights, y, _ = people
    twice = np.concatenate([y, change(y[:1], time=np.nan)])
    model = make(max_epochs=1).fit([*nights, nights[0]], twice)
    assert len(model.training_outcomes_) == N_PEOPLE


def test_epochs_have_no_survival(make, people):
    nights, _, _ = people
    epochs = EpochSequence(nights[:2])
    y = survival_outcome(np.ones(len(epochs)), np.ones(len(epochs)))
    with pytest.raises(InvalidRecordingError, match=r"X holds epochs.*\.recordings"):
        make().fit(epochs, y)


def test_people_nobody_outlived_cannot_be_scored(fitted, people):
    nights, y, _ = people
    with pytest.raises(ValueError, match="no comparable pair"):
        fitted.score(nights[:1], y[:1])


class OfFlags(Sleep2VecCoxRegressor):
    """Takes flags for events, as the contract's checks give them."""

    def fit(self, X, y, sample_weight=None):
        outcome = survival_outcome(np.asarray(y) % 2, 1 + np.arange(len(y))) if len(y) else y
        return super().fit(X, outcome, sample_weight)


def test_the_contract_of_estimators_of_recordings(checkpoint_path):
    model = OfFlags(checkpoint_path, max_epochs=2, head_size=8, modality_dropout=0.3)
    check_sleep2vec_estimator(model, kinds=["subject"])
