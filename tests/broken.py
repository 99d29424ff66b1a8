# SPDX-License-Identifier: BSD-3-Clause
"""A small sound estimator of recordings, and one that is broken for each of the checks."""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted

from sleep2vec_sklearn.encoding._base import RecordingInputMixin, RecordingTransformerMixin
from sleep2vec_sklearn.encoding.inputs import read_input

BROKEN = {}
MUTABLE = {"a": 1}
HERE = os.getpid()


class SignalLevels(RecordingTransformerMixin, BaseEstimator):
    """Mean and spread of the signals, times a factor; the epoch's number is in both."""

    def __init__(self, scale=1.0):
        self.scale = scale

    def fit(self, X, y=None):
        read_input(X)
        self.n_features_out_ = 2
        return self

    def transform(self, X):
        check_is_fitted(self)
        given = read_input(X)
        rows, counts = np.zeros((len(X), 2)), np.zeros((len(X), 1))
        for number, (night, places) in enumerate(zip(given.recordings, given.rows, strict=True)):
            levels = [[np.mean(s.values), np.std(s.values)] for s in night.read().values()]
            rows[places] += np.mean(levels, axis=0)
            counts[places] += 1
            if given.epochs is not None:
                rows[places] += given.epochs[number][:, None]
        return self._label_rows(self.change(self.scale * rows / counts, X), given)

    def change(self, rows, X):
        return rows

    def get_feature_names_out(self, input_features=None):
        check_is_fitted(self)
        return np.array(["mean", "std"], dtype=object)


class LevelClassifier(ClassifierMixin, RecordingInputMixin, BaseEstimator):
    """A logistic regression on these levels."""

    def fit(self, X, y):
        self.levels_ = SignalLevels().fit(X)
        self.model_ = LogisticRegression().fit(self.levels_.transform(X), y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        check_is_fitted(self)
        return self.model_.predict(self.levels_.transform(X))

    def predict_proba(self, X):
        check_is_fitted(self)
        return self.model_.predict_proba(self.levels_.transform(X))


def breaks(*checks):
    """Register a class as broken in the eyes of these checks."""

    def register(kind):
        BROKEN.update(dict.fromkeys(checks, kind))
        return kind

    return register


@breaks("check_estimator_cloneable")
class WrapsItsParameter(SignalLevels):
    def __init__(self, scale=1.0):
        self.scale = [scale]


@breaks("check_estimator_tags_renamed")
class OldTags(SignalLevels):
    def _more_tags(self):
        return {}


@breaks("check_valid_tag_types")
class WordyTags(SignalLevels):
    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.dict = "yes"
        return tags


@breaks("check_estimator_repr")
class Nameless(SignalLevels):
    def __repr__(self, N_CHAR_MAX=700):
        raise RuntimeError("no name")


@breaks("check_no_attributes_set_in_init")
class EagerInit(SignalLevels):
    def __init__(self, scale=1.0):
        self.scale = scale
        self.network_ = None


@breaks("check_do_not_raise_errors_in_init_or_set_params")
class StrictInit(SignalLevels):
    def __init__(self, scale=1.0):
        if not isinstance(scale, float):
            raise TypeError("scale")
        self.scale = scale


@breaks("check_mixin_order")
class TurnedMixins(BaseEstimator, TransformerMixin):
    pass


@breaks("check_parameters_default_constructible")
class MutableDefault(SignalLevels):
    def __init__(self, scale=MUTABLE):
        self.scale = scale


@breaks("check_get_params_invariance")
class ShallowerWhenDeep(SignalLevels):
    def get_params(self, deep=True):
        return {} if deep else {"scale": self.scale}


@breaks("check_set_params")
class DeafToParameters(SignalLevels):
    def set_params(self, **params):
        return self


@breaks("check_get_feature_names_out_error")
class NamesBeforeFit(SignalLevels):
    def get_feature_names_out(self, input_features=None):
        return np.array(["mean", "std"], dtype=object)


@breaks("check_estimator_sparse_tag", "check_estimators_empty_data_messages")
class TakesAnything(SignalLevels):
    def fit(self, X, y=None):
        self.n_features_out_ = 2
        return self


@breaks("check_estimators_unfitted")
class TransformsBeforeFit(SignalLevels):
    def transform(self, X):
        return np.zeros((len(X), 2))


@breaks("check_estimators_fit_returns_self")
class FitReturnsNothing(SignalLevels):
    def fit(self, X, y=None):
        super().fit(X)


@breaks("check_estimators_overwrite_params")
class LearnsItsParameter(SignalLevels):
    def fit(self, X, y=None):
        self.scale = 2.0
        return super().fit(X)


@breaks("check_dont_overwrite_parameters")
class PublicAttribute(SignalLevels):
    def fit(self, X, y=None):
        self.width = 2
        return super().fit(X)


@breaks("check_dict_unchanged")
class CountsCalls(SignalLevels):
    def change(self, rows, X):
        self.n_calls_ = getattr(self, "n_calls_", 0) + 1
        return rows


@breaks("check_fit_idempotent")
class RemembersFits(SignalLevels):
    def fit(self, X, y=None):
        self.n_fits_ = getattr(self, "n_fits_", 0) + 1
        return super().fit(X)

    def change(self, rows, X):
        return rows * self.n_fits_


@breaks("check_one_row_per_element")
class LosesOne(SignalLevels):
    def transform(self, X):
        return super().transform(X)[1:]


@breaks("check_methods_subset_invariance")
class CentresOnX(SignalLevels):
    def change(self, rows, X):
        return rows - rows.mean(axis=0)


@breaks("check_methods_sample_order_invariance")
class AddsThePosition(SignalLevels):
    def change(self, rows, X):
        return rows + np.arange(len(rows))[:, None]


@breaks("check_estimators_pickle")
class GrowsInPickles(SignalLevels):
    def __setstate__(self, state):
        super().__setstate__({**state, "scale": 2 * state["scale"]})


@breaks("check_readonly_memmap_input")
class WorksInPlace(SignalLevels):
    def change(self, rows, X):
        for night in getattr(X, "recordings", X):
            if isinstance(night, dict):
                night["eeg"][0][:] *= 1
        return rows


@breaks("check_estimators_data_not_an_array")
class DislikesTuples(SignalLevels):
    def change(self, rows, X):
        return rows * 2 if isinstance(X, tuple) else rows


@breaks("check_n_jobs_equality")
class KnowsItsProcess(SignalLevels):
    def __init__(self, scale=1.0, home=HERE):
        self.scale = scale
        self.home = home

    def change(self, rows, X):
        return rows + (os.getpid() != self.home)


@breaks("check_missing_modality_closure")
class NeedsTheHeart(SignalLevels):
    def change(self, rows, X):
        return rows if "ecg" in X[0] else rows * np.nan


@breaks("check_modality_key_order")
class TakesTheFirst(SignalLevels):
    def change(self, rows, X):
        return rows + len(next(iter(X[0])))


@breaks("check_transformer_get_feature_names_out")
class NamesAlike(SignalLevels):
    def get_feature_names_out(self, input_features=None):
        check_is_fitted(self)
        return np.array(["level", "level"], dtype=object)


@breaks("check_set_output_transform_pandas")
class LosesTheIndex(SignalLevels):
    def transform(self, X):
        rows = super().transform(X)
        return rows.reset_index(drop=True) if isinstance(rows, pd.DataFrame) else rows


@breaks("check_set_output_transform_polars")
class DoublesInPolars(SignalLevels):
    def change(self, rows, X):
        return rows * (2 if _get_output_config("transform", self)["dense"] == "polars" else 1)


@breaks("check_global_output_transform_pandas", "check_global_set_output_transform_polars")
class DoublesWhenGlobal(SignalLevels):
    def change(self, rows, X):
        return rows * (1 if get_config()["transform_output"] == "default" else 2)
