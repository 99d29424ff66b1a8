# SPDX-License-Identifier: BSD-3-Clause
"""How late in the night an epoch is, as columns beside the embeddings."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ..errors import InvalidRecordingError
from ..signals.modality import EPOCH_SECONDS
from ..signals.recording import Recording
from .conventions import RecordingTransformerMixin
from .inputs import EncoderInput, read_input

__all__ = ["TimeOfNight", "time_columns"]

_COLUMNS = ("hours", "hours_squared", "settling", "share")


class TimeOfNight(RecordingTransformerMixin, BaseEstimator):
    """Hours since lights out of each epoch of X, in forms a linear head can use.

    Deep sleep is early in a night and REM late, and an encoder that reads windows of one or two
    hours cannot know which it is. In a ``FeatureUnion`` this tells a head of sleep stages.

    Attributes
    ----------
    n_features_out_ : int
        Four columns: "hours" since lights out; "hours_squared"; "settling", which is
        ``exp(-hours)``; and "share" of the time between lights out and lights on that is over.
        Where one of the two is not known, the recording's begin or end stands for it.

    Notes
    -----
    A head that knows the time learns when the people it was trained on sleep. Leave it out for
    shift workers, naps, and recordings that do not begin at bedtime.

    Examples
    --------
    >>> from sklearn.pipeline import make_union
    >>> from sleep2vec_sklearn import (
    ...     EpochSequence, Sleep2VecTransformer, TimeOfNight, make_sleep_cohort
    ... )
    >>> X = EpochSequence(make_sleep_cohort(2, hours=1, modalities=["ibi"], random_state=0))
    >>> TimeOfNight().fit_transform(X)[60].round(3)  # half an hour after the start
    array([0.492, 0.243, 0.611, 0.526], dtype=float32)
    >>> make_union(Sleep2VecTransformer(modalities="ibi"), TimeOfNight()).fit_transform(X).shape
    (240, 132)
    """

    def fit(self, X, y=None):
        """Learn nothing.

        Parameters
        ----------
        X : EpochSequence
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        InvalidRecordingError
            If X holds nights, which have no one time.
        """
        _read_epochs(X)
        self.n_features_out_ = len(_COLUMNS)
        return self

    def transform(self, X):
        """Tell the time of every epoch, at its middle.

        Parameters
        ----------
        X : EpochSequence

        Returns
        -------
        float32 ndarray of shape (len(X), 4), or a DataFrame
            A DataFrame if ``set_output`` asks for one, with the index that
            :class:`Sleep2VecTransformer` gives.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        InvalidRecordingError
            If X holds nights.
        """
        check_is_fitted(self)
        given = _read_epochs(X)
        rows = np.empty((given.n_rows, len(_COLUMNS)), dtype=np.float32)
        parts = zip(given.recordings, given.rows, given.epochs, strict=True)
        for recording, places, epochs in parts:
            rows[places] = time_columns(recording, epochs)
        return self._label_rows(rows, given)

    def get_feature_names_out(self, input_features=None) -> np.ndarray:
        """Names of the columns.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        object ndarray of shape (4,)
        """
        check_is_fitted(self)
        return np.array(_COLUMNS, dtype=object)


def _read_epochs(X) -> EncoderInput:
    given = read_input(X)
    if given.epochs is None:
        raise InvalidRecordingError(
            "X holds nights, which have no one time of the night; accepted is an EpochSequence. "
            "Wrap them: EpochSequence(X)."
        )
    return given


def time_columns(recording: Recording, epochs: np.ndarray) -> np.ndarray:
    """The columns of :class:`TimeOfNight` for some epochs of a recording."""
    lights_off, lights_on = recording.lights or (None, None)
    begin = 0.0 if lights_off is None else lights_off
    end = recording.n_epochs * EPOCH_SECONDS if lights_on is None else lights_on
    seconds = (epochs + 0.5) * EPOCH_SECONDS - begin
    hours = seconds / 3600
    share = seconds / max(end - begin, EPOCH_SECONDS)
    # before lights out nobody has settled
    settling = np.exp(-np.maximum(hours, 0))
    return np.stack([hours, hours**2, settling, share], axis=1)
