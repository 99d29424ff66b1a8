# SPDX-License-Identifier: BSD-3-Clause
"""What scikit-learn asks of an estimator whose X is a list of recordings."""

import pickle

import numpy as np
import pandas as pd
import polars
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    cross_val_predict,
    cross_val_score,
    train_test_split,
)
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, load_checkpoint
from sleep2vec_sklearn.checks import _SCIKIT_LEARN_CHECKS
from sleep2vec_sklearn.errors import CheckpointError, LeakageWarning
from sleep2vec_sklearn.model import checkpoint as checkpoint_room

CHECKS = (
    *_SCIKIT_LEARN_CHECKS,
    "check_set_output_transform",
    "check_global_output_transform_pandas",
)


@pytest.fixture
def transformer(checkpoint_path):
    return Sleep2VecTransformer(checkpoint_path)


@pytest.fixture
def probe(transformer):
    return make_pipeline(transformer, StandardScaler(), LogisticRegression())


@pytest.fixture
def epochs(cohort):
    return EpochSequence(cohort)


@pytest.mark.parametrize("check", CHECKS)
def test_scikit_learns_own_check(check, checkpoint_path):
    if not hasattr(estimator_checks, check):
        pytest.skip("not in this version of scikit-learn")
    getattr(estimator_checks, check)("Sleep2VecTransformer", Sleep2VecTransformer(checkpoint_path))


def test_cross_validation_by_subject(probe, epochs):
    y = epochs.stages == 0
    scores = cross_val_score(probe, epochs, y, groups=epochs.groups, cv=GroupKFold(2))
    assert np.isfinite(scores).all()
    predicted = cross_val_predict(probe, epochs, y, groups=epochs.groups, cv=GroupKFold(2))
    assert predicted.shape == (len(epochs),)


def test_nights_are_cross_validated_like_any_list(probe, cohort):
    assert np.isfinite(cross_val_score(probe, cohort, [0, 1] * 4, cv=2)).all()


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_grid_search_over_head_and_transformer(probe, cohort, n_jobs):
    grid = {
        "logisticregression__C": [0.1, 1],
        "sleep2vectransformer__layer": np.arange(2),
    }
    search = GridSearchCV(probe, grid, cv=2, n_jobs=n_jobs, error_score="raise")
    search.fit(cohort[:4], [0, 1] * 2)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_train_and_test_epochs_go_through_a_pipeline(probe, epochs):
    train, test, y_train, _ = train_test_split(epochs, epochs.stages == 0, random_state=0)
    probe.fit(train, y_train)
    with pytest.warns(LeakageWarning, match="other rows of 8 of the subjects"):
        assert probe.predict(test).shape == (len(test),)


def test_feature_union_joins_two_views_of_a_night(checkpoint_path, cohort):
    heart = Sleep2VecTransformer(checkpoint_path, modalities=["ecg", "ibi"])
    union = FeatureUnion([("all", Sleep2VecTransformer(checkpoint_path)), ("heart", heart)])
    X = [night for night in cohort if "ecg" in night]
    assert union.fit_transform(X).shape == (len(X), 64)
    assert union.get_feature_names_out()[-1] == "heart__sleep2vec_031"
    assert isinstance(union.set_output(transform="pandas").fit_transform(X), pd.DataFrame)


def test_fit_does_not_change_parameters(transformer, cohort):
    before = transformer.get_params()
    transformer.fit(cohort)
    assert all(value is before[name] for name, value in transformer.get_params().items())


def test_fit_sees_no_labels_and_no_signals(transformer, cohort, counting_source, noise):
    from sleep2vec_sklearn import Recording

    source = counting_source({"eeg": (*noise("eeg"), "uV")})
    assert transformer.fit([Recording.from_source(source)], y=object()) is transformer
    assert source.reads == []


def test_a_clone_is_unfitted(transformer, cohort):
    with pytest.raises(NotFittedError):
        clone(transformer.fit(cohort)).transform(cohort)


def test_an_unfitted_transform_loads_no_weights(monkeypatch):
    monkeypatch.setattr(checkpoint_room, "_read", lambda path: pytest.fail("weights were read"))
    with pytest.raises(NotFittedError):
        Sleep2VecTransformer("anything").transform([])
    with pytest.raises(NotFittedError):
        Sleep2VecTransformer("anything").get_feature_names_out()


def test_a_pickle_carries_no_weights(transformer, cohort):
    rows = transformer.fit_transform(cohort)
    stored = pickle.dumps(transformer)
    assert len(stored) < 3000
    np.testing.assert_array_equal(pickle.loads(stored).transform(cohort), rows)


def test_a_pickle_from_another_device_follows_the_device_parameter(checkpoint_path, cohort):
    transformer = Sleep2VecTransformer(checkpoint_path, cache=None)
    rows = transformer.fit_transform(cohort[:1])
    transformer.device_ = "cuda:99"
    np.testing.assert_array_equal(transformer.transform(cohort[:1]), rows)
    transformer.set_params(device="cuda:99")
    with pytest.raises(ValueError, match=r"device 'cuda:99' is not available here.*'auto'"):
        transformer.transform(cohort[:1])


def test_a_pickle_with_weights_needs_no_file(tmp_path, write_checkpoint, cohort):
    path = write_checkpoint(tmp_path / "mine.safetensors", 5)
    transformer = Sleep2VecTransformer(path, store_weights_in_pickle=True, cache=None)
    rows = transformer.fit_transform(cohort)
    stored = pickle.dumps(transformer)
    path.unlink()
    np.testing.assert_array_equal(pickle.loads(stored).transform(cohort), rows)


def test_a_file_that_changed_under_a_pickle_is_noticed(tmp_path, write_checkpoint, cohort):
    path = write_checkpoint(tmp_path / "mine.safetensors", 5)
    stored = pickle.dumps(Sleep2VecTransformer(path).fit(cohort))
    write_checkpoint(path, 6)
    with pytest.raises(CheckpointError, match=r"mine has sha256 .* was fitted with .* Restore"):
        pickle.loads(stored).transform(cohort)


def test_a_pickle_whose_checkpoint_is_gone_says_so(tmp_path, write_checkpoint, cohort):
    path = write_checkpoint(tmp_path / "mine.safetensors", 5)
    restored = pickle.loads(pickle.dumps(Sleep2VecTransformer(path).fit(cohort)))
    path.unlink()
    with pytest.raises(CheckpointError, match=r"mine\.safetensors"):
        restored.transform(cohort)


def test_a_loaded_checkpoint_can_be_passed(checkpoint_path, transformer, cohort):
    passed = Sleep2VecTransformer(load_checkpoint(checkpoint_path))
    np.testing.assert_array_equal(
        clone(passed).fit_transform(cohort), transformer.fit_transform(cohort)
    )


def test_pandas_output_is_indexed_by_recording(transformer, cohort):
    table = transformer.set_output(transform="pandas").fit_transform(cohort)
    assert table.index.tolist() == [night.id for night in cohort]
    assert table.columns[7] == "sleep2vec_007"


def test_pandas_output_is_indexed_by_recording_and_epoch(transformer, epochs):
    part = epochs[[40, 3]]
    table = transformer.set_output(transform="pandas").fit_transform(part)
    assert table.index.equals(part.index)


def test_polars_output(transformer, cohort):
    table = transformer.set_output(transform="polars").fit_transform(cohort)
    assert isinstance(table, polars.DataFrame)
    assert table.columns == transformer.get_feature_names_out().tolist()


def test_configured_output_has_the_rows_of_the_plain_one(checkpoint_path, cohort):
    rows = Sleep2VecTransformer(checkpoint_path).fit_transform(cohort)
    for kind in ("pandas", "polars"):
        table = Sleep2VecTransformer(checkpoint_path).set_output(transform=kind)
        np.testing.assert_array_equal(table.fit_transform(cohort).to_numpy(), rows)


@pytest.mark.parametrize("fusion", ["mean", "concat"])
@pytest.mark.parametrize("pooling", ["mean", "mean_std", "max", "cls"])
@pytest.mark.parametrize("unit", ["night", "epoch"])
def test_names_are_unique_and_as_many_as_columns(checkpoint_path, cohort, fusion, pooling, unit):
    X = cohort[:2] if unit == "night" else EpochSequence(cohort[:2])
    transformer = Sleep2VecTransformer(checkpoint_path, fusion=fusion, pooling=pooling).fit(X)
    names = transformer.get_feature_names_out()
    assert len(set(names)) == len(names) == transformer.n_features_out_
    assert transformer.transform(X).shape == (len(X), len(names))


def test_names_say_which_block_and_statistic(checkpoint_path, cohort):
    transformer = Sleep2VecTransformer(checkpoint_path, fusion="concat", pooling="mean_std")
    names = transformer.fit(cohort).get_feature_names_out()
    assert (names[0], names[32], names[-1]) == (
        "eeg_mean_000",
        "ecg_mean_000",
        "actigraphy_std_031",
    )


def test_the_width_does_not_depend_on_the_data(checkpoint_path, noise):
    fitted = Sleep2VecTransformer(checkpoint_path, fusion="concat").fit([{"ibi": noise("ibi")}])
    assert fitted.n_features_out_ == 6 * 32
    assert fitted.modalities_ == ("eeg", "ecg", "effort", "spo2", "ibi", "actigraphy")
