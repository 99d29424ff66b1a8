# SPDX-License-Identifier: BSD-3-Clause
"""Several encoders side by side, each signal read once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from sklearn.pipeline import FeatureUnion

from .inputs import read_input
from .transformer import Sleep2VecTransformer


class EncoderUnion(FeatureUnion):
    """Rows of several encoders side by side, each signal read once.

    scikit-learn's FeatureUnion, which works too, runs one transformer after the other over all of
    X, and each reads the signals for itself. Here every night goes through all encoders before the
    next is read; memory holds the signals of one night. Parameters, weights and names of columns
    are those of FeatureUnion. With ``n_jobs`` or a joblib backend that has been opened, each
    encoder reads for itself.

    Parameters
    ----------
    transformer_list : list of (str, transformer)
        Those that are no :class:`Sleep2VecTransformer` read for themselves.
    n_jobs, transformer_weights, verbose, verbose_feature_names_out
        See :class:`sklearn.pipeline.FeatureUnion`.

    Examples
    --------
    >>> from sleep2vec_sklearn import Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn.encoding import EncoderUnion
    >>> nights = make_sleep_cohort(2, hours=1, modalities=["ibi"], random_state=0)
    >>> union = EncoderUnion(
    ...     [("first", Sleep2VecTransformer()), ("last", Sleep2VecTransformer(layer=0))]
    ... )
    >>> union.fit_transform(nights).shape
    (2, 729)
    """

    def fit_transform(self, X: Any, y: Any = None, **params: Any) -> Any:
        """Fit all, transform X and put the rows side by side; see FeatureUnion."""
        self._validate_transformers()
        for encoder in self._encoders():
            encoder.fit(X, y)
        with self._encoded(X):
            return super().fit_transform(X, y, **params)

    def transform(self, X: Any, **params: Any) -> Any:
        """Transform X by each and put the rows side by side; see FeatureUnion."""
        with self._encoded(X):
            return super().transform(X, **params)

    def _encoders(self) -> list[Sleep2VecTransformer]:
        return [step for _, step, _ in self._iter() if isinstance(step, Sleep2VecTransformer)]

    @contextmanager
    def _encoded(self, X: Any) -> Iterator[None]:
        """Rows of all encoders, ready for the one call of each that follows."""
        from ._engine import encode_together
        from ._parallel import count_workers

        encoders = self._encoders()
        is_alone = self.n_jobs in (None, 1) and count_workers() is None
        if len(encoders) < 2 or not is_alone or len({e.on_error for e in encoders}) > 1:
            yield
            return
        inputs = read_input(X, encoders[0].on_error)
        opened = [encoder._open(inputs) for encoder in encoders]
        engines = [engine for engine, _ in opened]
        with closing(encode_together(engines, inputs.recordings, inputs.locations)) as nights:
            for together in nights:
                for encoder, night, (_, rows) in zip(encoders, together, opened, strict=True):
                    encoder._take(night, rows)
        for encoder, ready in zip(encoders, opened, strict=True):
            encoder._ready = ready
        try:
            yield
        finally:
            for encoder in encoders:
                encoder.__dict__.pop("_ready", None)
