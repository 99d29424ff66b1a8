# SPDX-License-Identifier: BSD-3-Clause
"""What every estimator whose X is a list of recordings tells scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.base import TransformerMixin
from sklearn.utils._set_output import _get_output_config

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:

    class CallbackSupportMixin:
        """scikit-learn below 1.9 has no callbacks."""

    def with_callbacks(method):
        """Leave the method as it is."""
        return method


__all__ = ["RecordingInputMixin", "RecordingTransformerMixin"]


class RecordingInputMixin(CallbackSupportMixin):
    """Tags, documentation link and callbacks; stands left of ``BaseEstimator``."""

    _doc_link_module = "sleep2vec_sklearn"
    # the method, until the pages of docs/ have a public address
    _doc_link_template = "https://arxiv.org/abs/2602.13857"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.dict = True
        tags.input_tags.allow_nan = True
        return tags


class RecordingTransformerMixin(RecordingInputMixin, TransformerMixin):
    """The same for transformers, whose rows are labelled with the elements of X."""

    @with_callbacks
    def fit_transform(self, X, y=None, **fit_params):
        """Fit, then transform; one task in the progress bar of scikit-learn's callbacks."""
        if not hasattr(self, "_init_callback_context"):
            return super().fit_transform(X, y, **fit_params)
        task = self._init_callback_context()
        task.call_on_fit_task_begin(estimator=self, X=X, y=y)
        rows = super().fit_transform(X, y, **fit_params)
        task.call_on_fit_task_end(estimator=self, X=X, y=y, reconstruction_attributes={})
        return rows

    def _label_rows(self, rows: np.ndarray, given):
        """Give rows the index of X where ``set_output`` asks for pandas, which alone has one."""
        if _get_output_config("transform", self)["dense"] != "pandas":
            return rows
        import pandas as pd

        return pd.DataFrame(rows, index=given.index, columns=self.get_feature_names_out())
