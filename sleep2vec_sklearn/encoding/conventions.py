# SPDX-License-Identifier: BSD-3-Clause
"""What every estimator whose X is a list of recordings tells scikit-learn."""

from __future__ import annotations

import numpy as np
from sklearn.utils._set_output import _get_output_config

__all__ = ["RecordingInputMixin"]


class RecordingInputMixin:
    """Tags, documentation link and labelled output; stands left of the mixins of scikit-learn."""

    _doc_link_module = "sleep2vec_sklearn"
    # the method, until the pages of docs/ have a public address
    _doc_link_template = "https://arxiv.org/abs/2602.13857"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.dict = True
        tags.input_tags.allow_nan = True
        return tags

    def _label_rows(self, rows: np.ndarray, given):
        """Give rows the index of X where ``set_output`` asks for pandas, which alone has one."""
        if _get_output_config("transform", self)["dense"] != "pandas":
            return rows
        import pandas as pd

        return pd.DataFrame(rows, index=given.index, columns=self.get_feature_names_out())
