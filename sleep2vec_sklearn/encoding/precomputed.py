# SPDX-License-Identifier: BSD-3-Clause
"""PrecomputedEmbeddings: a transformer that looks rows up, without signals or torch."""

from __future__ import annotations

from functools import lru_cache
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .._arguments import check_text
from ..errors import ReadError
from ._base import RecordingTransformerMixin, without_subjects
from ._leakage import RowsBySubject, guard
from .inputs import RowKeys, keys_of_names, keys_of_recordings, read_input
from .table import EmbeddingTable, check_contents

_FILES_CACHED = 2


class PrecomputedEmbeddings(RecordingTransformerMixin, BaseEstimator):
    """Stand in for a Sleep2VecTransformer whose rows were saved in a table.

    Rows are looked up by the id of the recording, and by epoch where they are epochs; they equal
    those of the transformer bit for bit. Needs neither torch nor the signals. X may be ids alone,
    so that in a :class:`~sklearn.compose.ColumnTransformer` a column of ids becomes embeddings
    together with columns of covariates. Where X holds recordings, their
    subjects and a fingerprint of their signals (of a file: its length, begin and end) have to be
    those of the table, as another night may have the same name.

    Parameters
    ----------
    table : EmbeddingTable, str or path
        A table, or the file of one: ``.npz`` is mapped, ``.parquet`` is read into memory as a
        whole. The last files read are cached, and read again when they change. Pickles carry a
        table that was passed as such, and only the path of a file.
    column : str, default="recording"
        Column of ids where X is a DataFrame of several columns; of a single one the name is free.
    center : "auto", "night" or None, default="auto"
        Whether rows of epochs are relative to their night's mean; "auto" as the transformer that
        made the table.

    Attributes
    ----------
    unit_ : {"night", "epoch"}
        What a row stands for.
    n_features_out_ : int
        Number of columns.
    checkpoint_sha256_ : str
        Hash of the encoder that made the table.

    Examples
    --------
    >>> from sleep2vec_sklearn import PrecomputedEmbeddings, Sleep2VecTransformer
    >>> from sleep2vec_sklearn import EpochSequence, make_sleep_cohort
    >>> X = EpochSequence(make_sleep_cohort(2, hours=1, modalities=["ibi"], random_state=0))
    >>> table = Sleep2VecTransformer().fit(X).embed(X)
    >>> bool((PrecomputedEmbeddings(table, center=None).fit_transform(X) == table.values).all())
    True

    Ids instead of recordings:

    >>> nights = make_sleep_cohort(2, hours=1, modalities=["ibi"], random_state=0)
    >>> table = Sleep2VecTransformer().fit(nights).embed(nights)
    >>> PrecomputedEmbeddings(table).fit_transform(nights.metadata.index).shape
    (2, 601)
    """

    def __init__(
        self, table: EmbeddingTable | str | PathLike, *, column: str = "recording",
        center: str | None = "auto",
    ):  # fmt: skip
        self.table = table
        self.column = column
        self.center = center

    def fit(self, X: Any, y: Any = None) -> PrecomputedEmbeddings:
        """Open the table and check that it has the rows of X.

        Parameters
        ----------
        X : ids, DataFrame, RowKeys, list of Recording, list of lists of them, or EpochSequence
            Ids of recordings (of subjects where rows stand for subjects): a list, array, Series
            or index of text or integers, each as often as wanted; or a DataFrame of pandas or
            polars with a column of ids, and of rows of epochs another, ``epoch``. Or ``table.X``
            or ``table.index`` or part of it; or what the table was made from.
        y : ignored

        Raises
        ------
        ReadError
            If the file cannot be read.
        InvalidRecordingError
            If a row is not in the table, a recording has no id, or it is another subject's or
            holds other signals than the one of this name in the table.
        """
        if not isinstance(self.center, str | None) or self.center not in ("auto", "night", None):
            raise ValueError(f"center must be 'auto', 'night' or None, got {self.center!r}.")
        table = self._open()
        rows, _ = self._find_rows(table, X)
        stored = table.provenance.get("center")
        self.center_ = stored if self.center == "auto" else self.center
        table.rows(rows[:0], self.center_)
        self._rows_at_fit = RowsBySubject.of_keys(table.X[rows])
        self.unit_ = table.X.unit
        self.n_features_out_ = table.values.shape[1]
        self.checkpoint_sha256_ = _made_by(table)
        self._feature_names_out = table.feature_names
        return self

    def transform(self, X: Any) -> Any:
        """Look rows up.

        Parameters
        ----------
        X : ids, DataFrame, RowKeys, list of Recording, list of lists of them, or EpochSequence
            As of :meth:`fit`.

        Returns
        -------
        float32 ndarray of shape (len(X), n_features_out_), or a DataFrame

        Raises
        ------
        InvalidRecordingError, LeakageError
            If a row is not in the table; as :meth:`Sleep2VecTransformer.transform`.
        ReadError
            If the file is gone, or holds another encoder's rows than at fit.
        """
        check_is_fitted(self, "checkpoint_sha256_")
        table = self._open()
        sha256 = _made_by(table)
        is_same_encoder = sha256 == self.checkpoint_sha256_
        if not is_same_encoder or table.feature_names.tolist() != self._column_names():
            raise ReadError(
                f"{table!r} is not the table of fit: made by checkpoint {sha256[:12]} with "
                f"{len(table.feature_names)} features, at fit {self.checkpoint_sha256_[:12]} with "
                f"{self.n_features_out_}. Restore it, or fit again."
            )
        rows, keys = self._find_rows(table, X)
        guard(getattr(self, "_rows_at_fit", None), lambda: RowsBySubject.of_keys(table.X[rows]))
        # a column keeps its index, by which pandas joins it to others
        return self._label_rows(table.rows(rows, self.center_), X if hasattr(X, "iloc") else keys)

    def __getstate__(self) -> dict:
        return without_subjects(super().__getstate__())

    def _column_names(self) -> list[str]:
        return self._feature_names_out.tolist()

    def _find_rows(self, table: EmbeddingTable, X: Any) -> tuple[np.ndarray, RowKeys]:
        keys = keys_of_names(X, check_text("column", self.column), table.X.unit)
        if keys is not None:
            return table.rows_of(keys), keys
        keys = keys_of_recordings(X)
        rows = table.rows_of(keys)
        check_contents(table, read_input(X))
        return rows, keys

    def _open(self) -> EmbeddingTable:
        if isinstance(self.table, EmbeddingTable):
            return self.table
        try:
            path = Path(self.table).resolve()
            status = path.stat()
        except OSError as error:
            raise ReadError(
                f"{self.table}: no such table ({error.strerror}). Write it with "
                "transformer.embed(X).save(path), or pass the table itself."
            ) from error
        except TypeError as error:
            raise TypeError(
                f"table must be an EmbeddingTable or the path of one, got "
                f"{type(self.table).__name__}. A DataFrame alone lacks provenance: keep the "
                "table it came from."
            ) from error
        return _load(path, (status.st_ino, status.st_mtime_ns, status.st_size))


def _made_by(table: EmbeddingTable) -> str:
    """Hash of the encoder behind a table's rows."""
    sha256 = table.provenance.get("checkpoint_sha256")
    if not isinstance(sha256, str):
        raise ReadError(
            f"{table!r} does not say which encoder made it: its provenance has no "
            "checkpoint_sha256. Embed the nights again."
        )
    return sha256


@lru_cache(maxsize=_FILES_CACHED)
def _load(path: Path, stamp: tuple[int, int, int]) -> EmbeddingTable:
    """Read a file; ``stamp`` only tells its versions apart."""
    return EmbeddingTable.load(path)
