# SPDX-License-Identifier: BSD-3-Clause
"""The published suite passes on sound estimators, and each of its checks can fail."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.exceptions import SkipTestWarning

from sleep2vec_sklearn import (
    EmbeddingTable,
    PrecomputedEmbeddings,
    RecordingMetadata,
    Sleep2VecCoxRegressor,
    Sleep2VecTransformer,
    TimeOfNight,
)
from sleep2vec_sklearn.checks import (
    check_sleep2vec_estimator,
    make_X,
    parametrize_with_sleep2vec_checks,
    sleep2vec_checks_generator,
)
from sleep2vec_sklearn.encoding import ExpertFeatures
from sleep2vec_sklearn.encoding.inputs import RowKeys, read_input
from sleep2vec_sklearn.evaluation import survival_outcome
from tests.broken import BROKEN, LevelClassifier, SignalLevels

SMALL = Sleep2VecTransformer(modalities=["spo2", "ibi", "actigraphy"])
FEATURES = ExpertFeatures(["spo2", "ibi", "actigraphy"])


@parametrize_with_sleep2vec_checks([FEATURES], kinds=["epoch"])
def test_expert_features_pass(estimator, check):
    check(estimator)


# nights of four epochs have no mean to be centred on
@pytest.mark.filterwarnings("ignore:(?s).*fewer than 20 epochs")
@parametrize_with_sleep2vec_checks([SMALL, RecordingMetadata(), SignalLevels(), LevelClassifier()])
def test_sound_estimators_pass(estimator, check):
    check(estimator)


@parametrize_with_sleep2vec_checks([TimeOfNight()], kinds=["epoch"])
def test_time_of_night_passes(estimator, check):
    check(estimator)


class OfFlags(Sleep2VecCoxRegressor):
    """Takes flags for events, as the contract's checks give them."""

    def fit(self, X, y, sample_weight=None):
        outcome = survival_outcome(np.asarray(y) % 2, 1 + np.arange(len(y))) if len(y) else y
        return super().fit(X, outcome, sample_weight)


def test_survival_estimator_passes(checkpoint_path):
    model = OfFlags(checkpoint_path, max_epochs=2, head_size=8, modality_dropout=0.3)
    check_sleep2vec_estimator(model, kinds=["subject"])


def lookup(kind):
    keys = RowKeys.from_input(read_input(make_X(kind)))
    values = np.random.default_rng(0).standard_normal((len(keys), 3))
    provenance = {"features": ["a", "b", "c"], "modalities": [], "checkpoint_sha256": "0" * 64}
    return PrecomputedEmbeddings(EmbeddingTable(keys, values, np.empty((len(keys), 0)), provenance))


NEED_NO_ID = dict.fromkeys(
    ("check_readonly_memmap_input", "check_missing_modality_closure", "check_modality_key_order"),
    "it passes plain dicts, which have no id to look rows up by; signals are not read in any case",
)


@pytest.mark.parametrize("kind", ["night", "subject", "epoch"])
def test_lookup_passes_named_checks(kind):
    with pytest.warns(SkipTestWarning, match="failed as expected: it passes plain dicts") as caught:
        check_sleep2vec_estimator(lookup(kind), kinds=[kind], expected_failed_checks=NEED_NO_ID)
    # joblib may warn of its workers as well
    skipped = [one for one in caught if one.category is SkipTestWarning]
    assert len(skipped) == len(NEED_NO_ID)


def test_expected_failures_must_fail():
    def expected(estimator):
        return NEED_NO_ID if isinstance(estimator, PrecomputedEmbeddings) else {}

    tests = parametrize_with_sleep2vec_checks(
        [SignalLevels(), lookup("night")], kinds=["night"], expected_failed_checks=expected
    ).args[1]
    marked = {test.values[1].func.__name__: test.marks[0] for test in tests if test.marks}
    assert sorted(marked) == sorted(NEED_NO_ID)
    assert all(mark.name == "xfail" and mark.kwargs["strict"] for mark in marked.values())
    with pytest.raises(AssertionError, match="check_fit_idempotent passed, but 'slow' was expect"):
        check_sleep2vec_estimator(
            SignalLevels(), kinds=["night"], expected_failed_checks={"check_fit_idempotent": "slow"}
        )


def checks_on_nights(estimator):
    pairs = sleep2vec_checks_generator(estimator, kinds=["night"])
    return {check.func.__name__: check for _, check in pairs}


@pytest.mark.parametrize("name", BROKEN)
def test_check_fails_on_broken_estimator(name):
    check = checks_on_nights(SignalLevels())[name]
    # scikit-learn's check of renamed tags raises a TypeError
    with pytest.raises((AssertionError, TypeError)):
        check(BROKEN[name]())


WITHOUT_ASSERTS = """
import numpy as np
from sleep2vec_sklearn import EpochSequence, Sleep2VecClassifier, make_sleep_cohort
from sleep2vec_sklearn.checks import sleep2vec_checks_generator
from tests.broken import BROKEN, SignalLevels

assert False
for _, check in sleep2vec_checks_generator(SignalLevels(), kinds=["night"]):
    name = check.func.__name__
    if name in NAMES:
        try:
            check(BROKEN[name]())
        except AssertionError:
            print(name)
X = EpochSequence(make_sleep_cohort(2, hours=0.25, modalities=["ibi"], missing=0, random_state=0))
model = Sleep2VecClassifier(max_epochs=1, random_state=0).fit(X, np.arange(len(X)) % 2)
print(model.predict_proba(X).shape == (len(X), 2))
"""


def test_faults_are_found_optimized():
    names = [
        "check_estimators_fit_returns_self", "check_estimators_overwrite_params",
        "check_dont_overwrite_parameters", "check_dict_unchanged", "check_one_row_per_element",
        "check_missing_modality_closure", "check_transformer_get_feature_names_out",
        "check_set_output_transform_pandas",
    ]  # fmt: skip
    child = subprocess.run(
        [sys.executable, "-O", "-c", f"NAMES = {names}\n{WITHOUT_ASSERTS}"],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}, check=True, text=True,
        capture_output=True,
    )  # fmt: skip
    assert child.stdout.split() == [*names, "True"]


def test_all_checks_in_one_call():
    check_sleep2vec_estimator(SignalLevels(), kinds=["night"])
    with pytest.raises(AssertionError, match=r"CentresOnX in .*subset_invariance"):
        check_sleep2vec_estimator(BROKEN["check_methods_subset_invariance"](), kinds=["night"])
    assert sorted(BROKEN) == sorted(checks_on_nights(SignalLevels()))


def test_default_checkpoint_passes_check():
    checks_on_nights(Sleep2VecTransformer())["check_set_output_transform_pandas"](
        Sleep2VecTransformer(cache=None)
    )


def test_wrong_arguments_are_refused():
    with pytest.raises(TypeError, match="pass instances"):
        parametrize_with_sleep2vec_checks([SignalLevels])
    with pytest.raises(ValueError, match="kinds has 'week'; accepted are 'night', 'subject', 'epo"):
        check_sleep2vec_estimator(SignalLevels(), kinds=["week"])


def test_absent_library_skips_its_checks(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "polars" else find(n))
    with pytest.warns(SkipTestWarning, match="polars is not installed") as caught:
        check_sleep2vec_estimator(SignalLevels(), kinds=["night"])
    assert len(caught) == 2
