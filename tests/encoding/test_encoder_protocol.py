# SPDX-License-Identifier: BSD-3-Clause
"""Encoders of users behind the transformer, its cache, heads and workers."""

from __future__ import annotations

import hashlib
import pickle
import threading

import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_score
from sklearn.pipeline import FeatureUnion, make_pipeline

from sleep2vec_sklearn import (
    EpochSequence,
    PrecomputedEmbeddings,
    Recording,
    Sleep2VecClassifier,
    Sleep2VecTransformer,
    clear_cache,
    make_sleep_cohort,
)
from sleep2vec_sklearn.encoding import EncoderUnion
from sleep2vec_sklearn.errors import CheckpointError, InvalidRecordingError, RecordingWarning
from sleep2vec_sklearn.model import Encoder


def sha256(text):
    return hashlib.sha256(text.encode()).hexdigest()


class HeartAndBreath(Encoder):
    """Three numbers of the heart and two of breathing, which lie in no one space."""

    calls = 0

    def encode(self, recording, group):
        type(self).calls += 1
        if group == "heart":
            rate = 60 / recording["ibi"].reshape(recording.n_epochs, -1)
            return np.column_stack([rate.mean(axis=1), rate.std(axis=1), np.ptp(rate, axis=1)])
        name = next(name for name in ("airflow", "effort") if name in recording.modalities)
        epochs = recording[name].reshape(recording.n_epochs, -1)
        return np.column_stack([epochs.std(axis=1), np.abs(epochs).max(axis=1)])

    def neutral(self, group):
        return np.full(self.widths[group], 7.0)


class Broken(Encoder):
    """What ``card["give"]`` makes of the shape of a block."""

    def encode(self, recording, group):
        return self.card["give"]((recording.n_epochs, self.widths[group]))


@pytest.fixture
def heart_and_breath(request):
    HeartAndBreath.calls = 0
    clear_cache()
    return HeartAndBreath(
        "heart and breath", sha256(request.node.name),
        {"heart": ("ibi",), "breath": ("airflow", "effort")}, {"heart": 3, "breath": 2},
        shared_space=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def cohort():
    return make_sleep_cohort(4, hours=0.5, modalities=["ibi", "effort"], missing=0, random_state=0)


def broken(give, name="broken", **changes):
    given = {
        "sha256": sha256(f"{name} {changes}"), "groups": {"ibi": ("ibi",)}, "widths": {"ibi": 2},
        "card": {"give": give}, **changes,
    }  # fmt: skip
    return Broken(name, **given)


def test_rows_hold_blocks_of_groups(heart_and_breath, cohort):
    transformer = Sleep2VecTransformer(heart_and_breath).set_output(transform="pandas")
    rows = transformer.fit_transform(EpochSequence(cohort))
    names = ["heart_000", "heart_001", "heart_002", "breath_000", "breath_001"]
    assert rows.columns.tolist() == names
    night = cohort[1]
    rate = 60 / night["ibi"].reshape(night.n_epochs, -1)
    np.testing.assert_allclose(rows.xs(night.id)["heart_000"], rate.mean(axis=1), rtol=1e-5)
    assert transformer.fusion_ == "concat"


def test_missing_group_is_neutral(heart_and_breath, cohort):
    transformer = Sleep2VecTransformer(heart_and_breath).fit(cohort)
    rows = transformer.transform([cohort[0].without("effort")])
    assert rows[0, 3:].tolist() == [7, 7]
    assert rows[0, 0] > 30


def test_tokens_are_cached_by_hash(heart_and_breath, cohort, tmp_path):
    transformer = Sleep2VecTransformer(heart_and_breath, cache=tmp_path)
    expected = transformer.fit_transform(cohort)
    n_calls = HeartAndBreath.calls
    assert n_calls == 2 * len(cohort) + 1  # one of them twice, to see that it repeats itself
    clear_cache()
    np.testing.assert_array_equal(clone(transformer).fit_transform(cohort), expected)
    assert HeartAndBreath.calls == n_calls


def test_groups_are_chosen_by_name(heart_and_breath, cohort):
    rows = Sleep2VecTransformer(heart_and_breath, modalities="breath").fit_transform(cohort)
    assert rows.shape == (4, 2)
    with pytest.raises(CheckpointError, match="supports heart, breath"):
        Sleep2VecTransformer(heart_and_breath, modalities=["spo2"]).fit(cohort)


def test_unlike_groups_have_no_mean(heart_and_breath, cohort):
    with pytest.raises(ValueError, match="Use fusion='concat'"):
        Sleep2VecTransformer(heart_and_breath, fusion="mean").fit(cohort)


def test_workers_and_pickles_agree(heart_and_breath, cohort):
    transformer = Sleep2VecTransformer(heart_and_breath, cache=None).fit(cohort)
    expected = transformer.transform(cohort)
    again = pickle.loads(pickle.dumps(transformer))
    np.testing.assert_array_equal(again.transform(cohort), expected)
    with joblib.parallel_config(backend="threading", n_jobs=2):
        np.testing.assert_array_equal(transformer.transform(cohort), expected)


def test_pipelines_and_tables_work(heart_and_breath, cohort):
    X = EpochSequence(cohort)
    model = make_pipeline(Sleep2VecTransformer(heart_and_breath), LogisticRegression(max_iter=500))
    scores = cross_val_score(model, X, X.stages > 0, groups=X.groups, cv=GroupKFold(2))
    assert np.isfinite(scores).all()
    table = Sleep2VecTransformer(heart_and_breath).fit(X).embed(X)
    assert table.provenance["checkpoint"] == "heart and breath"
    assert table.coverage.columns.tolist() == ["heart", "breath"]


def test_heads_read_its_tokens(heart_and_breath, cohort):
    X = EpochSequence(cohort)
    settings = {"max_epochs": 1, "random_state": 0, "head": "linear"}
    with pytest.raises(ValueError, match="Use aggregation='concat'"):
        Sleep2VecClassifier(heart_and_breath, aggregation="gated", **settings).fit(X, X.stages)
    model = Sleep2VecClassifier(heart_and_breath, aggregation="concat", **settings)
    probabilities = model.fit(X, X.stages).predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-4)
    with pytest.raises(CheckpointError, match=r"joblib\.dump"):
        model.save("heart.safetensors")


@pytest.mark.parametrize("finetune", ["lora", "full"])
def test_tuning_needs_own_network(heart_and_breath, cohort, finetune):
    model = Sleep2VecClassifier(
        heart_and_breath, finetune=finetune, aggregation="concat", max_epochs=1
    )
    with pytest.raises(CheckpointError, match=r"needs a sleep2vec encoder.*finetune='head'"):
        model.fit(cohort, ["a", "b", "a", "b"])


@pytest.mark.parametrize(
    ("give", "message"),
    [(lambda shape: np.zeros((shape[0] + 1, shape[1])), "tokens of shape"),
     (lambda shape: np.zeros(shape[0]), "tokens of shape"),
     (lambda shape: (np.zeros(shape), np.ones(3, bool)), "valid epochs of"),
     (lambda shape: np.full(shape, np.nan), "not finite in"),
     (lambda shape: np.random.default_rng().normal(size=shape), "same night at a second call")],
)  # fmt: skip
def test_wrong_tokens_are_refused(cohort, give, message):
    nights = [night.without("effort") for night in cohort]
    encoder = broken(give, name=message)
    with pytest.raises(CheckpointError, match=message):
        Sleep2VecTransformer(encoder, cache=None).fit_transform(nights)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"sha256": "abc"}, "64 hex digits"), ({"groups": {}}, "at least one"),
     ({"widths": {"ibi": 0}}, "a length for each"), ({"widths": {"eeg": 2}}, "a length for each"),
     ({"groups": {"a": ("ibi",), "b": ("spo2",)}, "widths": {"a": 1, "b": 2}}, "shared_space"),
     ({"groups": {"ibi": ("ibbi",)}}, "ibbi"), ({"groups": {"ibi": "ibi"}}, "tuple of modalities"),
     ({"widths": 2}, "a length for each")],
)  # fmt: skip
def test_wrong_descriptions_are_refused(cohort, changes, message):
    with pytest.raises((CheckpointError, ValueError), match=message):
        Sleep2VecTransformer(broken(np.zeros, name=message, **changes)).fit(cohort)


def test_hash_of_another_is_refused(cohort):
    nights = [night.without("effort") for night in cohort]
    Sleep2VecTransformer(broken(np.zeros, name="first", sha256=sha256("same"))).fit(nights)
    with pytest.raises(CheckpointError, match="'first' has too"):
        Sleep2VecTransformer(broken(np.zeros, name="second", sha256=sha256("same"))).fit(nights)
    with pytest.raises(CheckpointError, match="like a bundled one"):
        Sleep2VecTransformer(broken(np.zeros, name="sleep2vec-mini")).fit(nights)


def test_foreign_night_is_refused(cohort):
    transformer = Sleep2VecTransformer(broken(np.zeros, name="spo2", groups={"ibi": ("spo2",)}))
    with pytest.warns(match="not supported by this checkpoint"):
        transformer.fit(cohort)
    with pytest.raises(InvalidRecordingError, match=r"modalities to encode \(spo2\)"):
        transformer.transform(cohort)


class WithNetwork(Encoder):
    """A module of torch, under the name that estimators give their encoders."""

    def __init__(self, card=None):
        self.encoder = torch.nn.Linear(2, 3)
        self.started = threading.Lock()
        digest = sha256(f"network {card}")
        super().__init__(
            "network", digest, {"ibi": ("ibi",)}, {"ibi": 3}, has_summary=True, card=card or {}
        )

    def encode(self, recording, group):
        if recording.id in self.card:
            raise KeyError("no such channel")
        tokens = self.encoder(torch.ones(recording.n_epochs, 2))
        return tokens, np.ones(recording.n_epochs, bool), 2 * tokens[0]


def test_modules_need_no_detaching(cohort):
    encoder = WithNetwork()
    expected = encoder.encoder(torch.ones(1, 2)).detach().numpy()
    nights = [cohort[0].without("effort")]
    np.testing.assert_allclose(Sleep2VecTransformer(encoder).fit_transform(nights), expected)
    rows = Sleep2VecTransformer(encoder, pooling="cls").fit_transform(nights)
    np.testing.assert_allclose(rows, 2 * expected)


def test_failures_name_the_night(cohort):
    nights = [night.without("effort") for night in cohort[:2]]
    encoder = WithNetwork({nights[1].id: "unfit"})
    transformer = Sleep2VecTransformer(encoder, cache=None).fit(nights)
    message = rf"{nights[1].id}\): network failed at 'ibi' \(KeyError: 'no such channel'\)"
    with pytest.raises(InvalidRecordingError, match=message):
        transformer.transform(nights)
    transformer.set_params(on_error="nan")
    with pytest.warns(RecordingWarning, match=message):
        rows = transformer.transform(nights)
    assert np.isfinite(rows).all(axis=1).tolist() == [True, False]


class Nested(Encoder):
    """The rows of another encoder."""

    def encode(self, recording, group):
        return Sleep2VecTransformer(self.card["inner"]).fit_transform(EpochSequence([recording]))


def test_encoders_may_nest(cohort):
    nights, rows = [cohort[0].without("effort")], []
    inner = broken(np.ones, name="inner", groups={"ibi": ("ibi",)})
    groups, widths = {"ibi": ("ibi",)}, {"ibi": 2}
    outer = Nested("outer", sha256("outer"), groups, widths, card={"inner": inner})
    transformer = Sleep2VecTransformer(outer)
    thread = threading.Thread(
        target=lambda: rows.append(transformer.fit_transform(nights)), daemon=True
    )
    thread.start()
    thread.join(20)
    np.testing.assert_array_equal(rows, [[[1, 1]]])


def test_wrong_neutral_is_refused(heart_and_breath, cohort):
    heart_and_breath.neutral = lambda group: np.zeros(4)
    with pytest.raises(CheckpointError, match=r"neutral\(\) of another shape"):
        Sleep2VecTransformer(heart_and_breath).fit(cohort)


def test_missing_summary_is_refused(cohort):
    encoder = broken(np.zeros, name="no summary", has_summary=True)
    with pytest.raises(CheckpointError, match="as a third item"):
        Sleep2VecTransformer(encoder, pooling="cls").fit_transform([cohort[0].without("effort")])


def test_unpicklable_encoders_are_named(cohort):
    transformer = Sleep2VecTransformer(WithNetwork(), cache=None)
    with (
        joblib.parallel_config(backend="loky", n_jobs=2),
        pytest.raises(CheckpointError, match="network cannot be sent to workers"),
    ):
        transformer.fit_transform([night.without("effort") for night in cohort])


def test_tables_know_their_signals(heart_and_breath, cohort):
    table = Sleep2VecTransformer(heart_and_breath).fit(cohort).embed(cohort)
    other = [Recording(cohort[1].read(), id=cohort[0].id)]
    with pytest.raises(InvalidRecordingError, match="holds other signals"):
        PrecomputedEmbeddings(table).fit(other)
    assert PrecomputedEmbeddings(table).fit_transform(cohort).shape == (4, 5)


def test_other_objects_are_refused(cohort):
    with pytest.raises(CheckpointError, match="is no encoder"):
        Sleep2VecTransformer(object()).fit(cohort)


@pytest.mark.parametrize("cache", [None, "memory"])
def test_union_reads_signals_once(heart_and_breath, counting_source, noise, cache):
    source = counting_source({"ibi": (*noise("ibi", 30), "s")})
    nights = [Recording.from_source(source, id="a")]
    parts = [("own", Sleep2VecTransformer(heart_and_breath, cache=cache)),
             ("mini", Sleep2VecTransformer(cache=cache))]  # fmt: skip
    union = EncoderUnion(parts)
    rows = union.fit_transform(nights)
    assert source.reads == [("ibi",)]
    np.testing.assert_array_equal(rows, FeatureUnion(parts).fit_transform(nights))
    names = union.get_feature_names_out()
    assert (names[0], names[-1]) == ("own__heart_000", "mini__time_recorded")
    X = EpochSequence(nights)
    again = clone(union).fit(X).transform(X)
    np.testing.assert_array_equal(again, FeatureUnion(parts).fit_transform(X))


class TwoOfOne(Encoder):
    """Two groups of one signal."""

    def encode(self, recording, group):
        epochs = recording["ibi"].reshape(recording.n_epochs, -1)
        return (epochs.mean if group == "level" else epochs.std)(axis=1)[:, None]


@pytest.mark.parametrize("cache", [None, "memory"])
def test_shared_signal_is_read_once(counting_source, noise, cache):
    clear_cache()
    groups = {"level": ("ibi",), "spread": ("ibi",)}
    encoder = TwoOfOne("two of one", sha256("two of one"), groups, dict.fromkeys(groups, 1))
    Sleep2VecTransformer(encoder).fit_transform([{"ibi": noise("ibi", 30, seed=1)}])
    source = counting_source({"ibi": (*noise("ibi", 30), "s")})
    night = Recording.from_source(source, id="a")
    Sleep2VecTransformer(encoder, cache=cache).fit_transform([night])
    assert source.reads == [("ibi",)]
