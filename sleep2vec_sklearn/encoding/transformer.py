# SPDX-License-Identifier: BSD-3-Clause
"""Sleep2VecTransformer: the scikit-learn transformer around a pretrained encoder."""

from __future__ import annotations

import platform
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast, overload

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .._arguments import check_number
from .._files import check_writable
from .._progress import progress_bar
from .._validation import NON_NEGATIVE, PRECISION, StrOptions, count, validate_params
from .._warnings import warn
from ..errors import CacheWarning, CheckpointError, InvalidRecordingError, Sleep2VecError
from ..model.encoder import mean_names
from ._base import CheckpointMixin, RecordingTransformerMixin, choose_groups
from ._leakage import RowsBySubject, guard
from ._pooling import FUSIONS, POOLINGS, RowCollector, RowSummary, choose_fusion, n_around
from ._table_files import check_suffix, covariates_of, is_stored, write_parts
from ._table_rows import RepeatedRows, TableRows
from .cache import check_cache, open_store
from .inputs import EncoderInput, RowKeys, read_input
from .table import (
    CoverageCollector,
    EmbeddingTable,
    check_names,
    contents_of,
    names_of_columns,
)

if TYPE_CHECKING:
    from ..model.checkpoint import Checkpoint
    from ..model.encoder import Encoder
    from ._engine import EncodedNight, Engine
    from .cache import TokenStore

_READ_AHEAD = 2


class Sleep2VecTransformer(CheckpointMixin, RecordingTransformerMixin, BaseEstimator):
    """Embed nights of sleep with a pretrained encoder; one row per element of X.

    A list of recordings gives one row per night, pooled over its epochs; an element that is
    itself a list of nights gives one row for that subject, the mean of its nights' rows. An
    :class:`EpochSequence` gives one row per 30-s epoch. Any non-empty subset of the modalities
    works, night by night and epoch by epoch.

    Parameters
    ----------
    checkpoint : str, path, Checkpoint or Encoder, default="sleep2vec-mini"
        Name of a bundled encoder, a file written by :func:`save_checkpoint`, one of the authors'
        ``.ckpt`` files, an address of the hub (``"hf://owner/repository"``), a loaded one, or any
        other :class:`~sleep2vec_sklearn.model.Encoder`.
    modalities : sequence of str, optional
        Modalities, or groups of an encoder, to use; all that it supports by default. Never taken
        from the data, so the width is the same in every fold.
    fusion : {"auto", "mean", "concat"}, default="auto"
        The mean of the tokens of an epoch's modalities; or one block per modality, a missing one
        filled with the mean of the others. "auto" is "mean" where the tokens of all modalities lie
        in one space, as those of sleep2vec do.
    pooling : {"mean", "mean_std", "max", "cls"}, default="mean"
        How the epochs of a night become one row; "cls" where the checkpoint has a CLS token.
        Does not apply to epochs.
    center : "auto", "night" or None, default="auto"
        Of epochs: "night" subtracts from each modality's token its mean over the valid epochs of
        the recording, whichever rows are asked for, as subjects differ more than stages do. The
        mean is taken between lights off and lights on; of a recording past twelve hours without
        them, in its longest sleep-like stretch, which is found in the signals without labels,
        and half an hour on either side. The states of a night with fewer than 20 valid epochs
        stay as they are, with a warning. "auto" is what the checkpoint was made for, and None for
        rows of nights.
    context_minutes : float, default=0
        Of epochs: the mean of the rows around each, within a window of so many minutes, follows
        the epoch's own row, for linear heads of sleep stages. Does not apply to nights.
    layer : "last", "projection" or int, default="last"
        The encoder's output, the space of the contrastive loss, or the output of a block
        (0 is before the first one).
    precision : {"float32", "bfloat16", "auto"}, default="float32"
        "auto" takes bfloat16 where the hardware is fast at it. Rows are float32 in any case.
    device : str, default="auto"
        A torch device; "auto" takes a GPU if there is one.
    batch_size : int, optional
        Recordings read and conditioned ahead of the network, 2 by default. Bounds memory and
        never changes a row.
    cache : "memory", path or None, default="memory"
        Where tokens are stored, so that the folds of a cross-validation and the candidates of a
        grid search encode a night once: in this process (up to 512 MiB), and in a folder as well,
        for other processes and sessions. ``set_config(cache_dir=...)`` gives "memory" a folder.
    on_error : {"raise", "nan"}, default="raise"
        What a recording that cannot be encoded does: raise, or give a row of NaN; all of them are
        listed in one warning. With "nan", a single sensor that cannot be used, such as one in
        another unit, is left out with a warning, and the night is encoded by the others.
    store_weights_in_pickle : bool, default=False
        Pickles carry the checkpoint's name and hash only, unless it was passed as an object;
        True makes them self-contained.
    verbose : int, optional
        1 shows a progress bar, 0 none. By default it is shown in an interactive session, once
        encoding has taken a few seconds.

    Attributes
    ----------
    unit_ : {"night", "epoch"}
        What a row stands for.
    modalities_ : tuple of str
        Modalities used, in the order of their blocks.
    n_features_out_ : int
        Number of columns, e.g. ``sleep2vec_007``, or ``eeg_007`` with concat; those of the context
        are called ``sleep2vec_around_007``.
    device_, precision_ : str
        As resolved at fit.
    checkpoint_sha256_ : str
        Hash of the encoder's weights and config.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.model_selection import GroupKFold, cross_val_score
    >>> from sklearn.pipeline import make_pipeline
    >>> from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort
    >>> X = EpochSequence(make_sleep_cohort(4, hours=1, modalities=["ibi"], random_state=0))
    >>> model = make_pipeline(Sleep2VecTransformer(), LogisticRegression())
    >>> cross_val_score(model, X, X.stages > 0, groups=X.groups, cv=GroupKFold(2)).shape
    (2,)
    """

    _noun = "transformer"
    _parameter_constraints: ClassVar[dict] = {
        "fusion": [StrOptions(set(FUSIONS))], "pooling": [StrOptions(set(POOLINGS))],
        "center": [StrOptions({"auto", "night"}), None], "context_minutes": [NON_NEGATIVE],
        "precision": [PRECISION], "batch_size": [count(), None],
        "on_error": [StrOptions({"raise", "nan"})], "store_weights_in_pickle": ["boolean"],
        "verbose": ["verbose", None],
    }  # fmt: skip

    def __init__(
        self, checkpoint: str | PathLike | Checkpoint | Encoder = "sleep2vec-mini", *,
        modalities: str | Sequence[str] | None = None, fusion: str = "auto", pooling: str = "mean",
        center: str | None = "auto", context_minutes: float = 0, layer: str | int = "last",
        precision: str = "float32", device: str = "auto", batch_size: int | None = None,
        cache: str | PathLike | None = "memory", on_error: str = "raise",
        store_weights_in_pickle: bool = False, verbose: int | None = None,
    ):  # fmt: skip
        self.checkpoint = checkpoint
        self.modalities = modalities
        self.fusion = fusion
        self.pooling = pooling
        self.center = center
        self.context_minutes = context_minutes
        self.layer = layer
        self.precision = precision
        self.device = device
        self.batch_size = batch_size
        self.cache = cache
        self.on_error = on_error
        self.store_weights_in_pickle = store_weights_in_pickle
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> Sleep2VecTransformer:
        """Check parameters and input, and resolve checkpoint, device and precision.

        Nothing is learned and no signal is read.

        Parameters
        ----------
        X : list of Recording or dict, list of lists of them, or EpochSequence
            Nights, subjects, or epochs.
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a parameter is not one of those accepted.
        InvalidRecordingError
            If X is not such a list.
        CheckpointError
            If the checkpoint cannot be loaded or lacks what the parameters ask for.
        """
        from .._torch import resolve_device, resolve_precision
        from ._sleep2vec import as_encoder

        validate_params(self)
        check_cache(self.cache)
        inputs = read_input(X, self.on_error)
        self.unit_ = inputs.unit
        self.device_ = resolve_device(self.device)
        self.precision_ = resolve_precision(self.precision, self.device_)
        settings = self._layer(), self.precision_, self.device_
        encoder = as_encoder(self._load_checkpoint(), *settings)
        if self.pooling == "cls" and not encoder.has_summary:
            raise CheckpointError("pooling='cls': this checkpoint has no CLS token to give.")
        self.modalities_ = choose_groups(self.modalities, encoder, inputs.recordings)
        self.fusion_ = choose_fusion(self.fusion, encoder)
        self.center_ = self._choose_center(encoder)
        self.checkpoint_sha256_ = encoder.sha256
        self.n_features_out_ = len(self._name_columns(encoder))
        self._rows_at_fit = RowsBySubject.of_input(inputs)
        return self

    def transform(self, X: Any) -> Any:
        """Embed recordings or epochs.

        Parameters
        ----------
        X : list of Recording or dict, list of lists of them, or EpochSequence
            Of the same kind as at fit.

        Returns
        -------
        float32 ndarray of shape (len(X), n_features_out_), or a DataFrame
            The DataFrame, if ``set_output`` asks for one, is indexed by recording and epoch.

        Raises
        ------
        NotFittedError
            Before :meth:`fit`.
        InvalidRecordingError, ReadError
            If a recording cannot be encoded and ``on_error="raise"``.
        LeakageError
            If X holds other rows of a subject of :meth:`fit`, with
            ``set_config(leakage="raise")``; by default that is a warning.
        """
        inputs = self._read_as_fitted(X)
        guard(getattr(self, "_rows_at_fit", None), lambda: RowsBySubject.of_input(inputs))
        engine, rows = self.__dict__.pop("_ready", None) or self._encode(inputs)
        return self._label_rows(self._rows_of(engine, rows), inputs)

    @overload
    def embed(self, X: Any) -> EmbeddingTable: ...

    @overload
    def embed(self, X: Any, path: str | PathLike, metadata: Any = None) -> None: ...

    def embed(
        self, X: Any, path: str | PathLike | None = None, metadata: Any = None
    ) -> EmbeddingTable | None:
        """Embed recordings or epochs into a table, to be saved and looked up later.

        Parameters
        ----------
        X : list of Recording or dict, list of lists of them, or EpochSequence
            As of :meth:`transform`, whose errors it raises; each recording with an id of its own.
        path : path-like, optional
            A file of the kinds of :meth:`EmbeddingTable.save`, in place of a table. Rows of epochs
            go to ``.parquet`` and ``.npz`` night by night, so that memory does not grow with
            their number; those of a night follow each other. The file is written whole or not at
            all.
        metadata : DataFrame or Cohort, optional
            Covariates for the file, as of :meth:`EmbeddingTable.save`.

        Returns
        -------
        EmbeddingTable or None
            None with ``path``. Else the rows of :meth:`transform` before centring, what centring
            takes off them, their names, the seconds of each modality behind them, and their
            provenance. :class:`PrecomputedEmbeddings` looks rows up in it, or in the file.

        Raises
        ------
        ValueError
            For a path of another suffix, or ``metadata`` without a path.
        InvalidRecordingError
            If two recordings have one name, or of ``metadata`` as by :meth:`EmbeddingTable.save`.
        """
        if path is None and metadata is not None:
            raise ValueError(
                "metadata was passed without path, and only a file holds covariates. Pass both, "
                "or call embed(X).save(path, metadata)."
            )
        if path is not None:
            # before hours of work
            check_suffix(Path(path))
            check_writable(Path(path))
        inputs = self._read_as_fitted(X)
        if path is not None and is_stored(Path(path)) and self.unit_ == "epoch":
            self._embed_to_file(inputs, Path(path), metadata)
            return None
        table = self._embed_in_memory(inputs)
        if path is None:
            return table
        table.save(path, metadata)
        return None

    def _embed_in_memory(self, inputs: EncoderInput) -> EmbeddingTable:
        coverage = CoverageCollector(inputs, self.modalities_)
        rows, offsets = self._split(self._rows_of(*self._encode(inputs, coverage, apart=True)))
        keys = RowKeys.from_input(inputs)
        return EmbeddingTable(keys, rows, coverage.seconds, self._provenance_of(inputs), offsets)

    def _embed_to_file(self, inputs: EncoderInput, path: Path, metadata: Any) -> None:
        """Write the rows of epochs, of one night after the other."""
        keys = RowKeys.from_input(inputs)
        first = keys.recording_index[[rows[0] for rows in inputs.rows]]
        names = RowKeys(keys.names[first], keys.subjects[first], [])
        check_names(names.names)
        provenance, covariates = self._provenance_of(inputs), None
        if metadata is not None:
            covariates = covariates_of(metadata, names, names_of_columns(provenance))
        write_parts(
            path, names, inputs.n_rows, provenance, covariates, self._parts_of(inputs, keys.stages)
        )

    def _parts_of(self, inputs: EncoderInput, stages: np.ndarray) -> Iterator[TableRows]:
        """Rows of each night, NaN where it has none, as it is encoded."""
        coverage = CoverageCollector(inputs, self.modalities_)
        engine, collector = self._open(inputs, apart=True)
        with closing(self._encoded(engine, inputs, collector)) as nights:
            for night in nights:
                self._check_encoded(night)
                rows, n_rows = collector.rows_of(night), len(inputs.rows[night.position])
                if rows is None:
                    rows = np.full((n_rows, collector.n_columns), np.nan, dtype=np.float32)
                values, offsets = self._split(rows)
                yield TableRows(
                    np.full(n_rows, night.position, dtype=np.int32),
                    cast("tuple", inputs.epochs)[night.position],
                    stages[inputs.rows[night.position]],
                    values,
                    coverage.seconds_of(night),
                    None if offsets is None else RepeatedRows.of(offsets),
                )
        self._warn_of_cache(engine)
        collector.warn_of_omissions()

    def __getstate__(self) -> dict:
        state = super().__getstate__()
        if self.store_weights_in_pickle:
            from ..model.checkpoint import as_checkpoint

            state["checkpoint"] = as_checkpoint(state["checkpoint"])
        return state

    def _read_as_fitted(self, X: Any) -> EncoderInput:
        check_is_fitted(self, "checkpoint_sha256_")
        inputs = read_input(X, self.on_error)
        self._check_unit(inputs)
        return inputs

    def _name_columns(self, encoder: Encoder) -> list[str]:
        names = {group: encoder.feature_names(group) for group in self.modalities_}
        shared = mean_names(encoder)
        if self.fusion_ == "concat":
            shared = [n for g, of_group in names.items() for n in of_group[: encoder.n_shared(g)]]
        own = [n for g, of_group in names.items() for n in of_group[encoder.n_shared(g) :]]
        last = []
        if self.unit_ == "night" and shared:
            own, last = [], [n for g in names if own for n in encoder.night_names(g)]
        parts = self._parts()
        return [_with_suffix(name, part) for part in parts for name in [*shared, *own]] + last

    def _column_names(self) -> list[str]:
        # not stored: of all modalities side by side they would be most of a pickle
        return self._name_columns(self._fitted_encoder(self.device_))

    def _parts(self) -> tuple[str, ...]:
        """Suffixes of the columns' names, one for each vector of a row."""
        if self.unit_ == "epoch":
            return ("", "_around") if n_around(self.context_minutes) else ("",)
        return ("_mean", "_std") if self.pooling == "mean_std" else ("",)

    def _choose_center(self, encoder: Encoder) -> str | None:
        if self.unit_ == "night" and self.center == "night":
            raise ValueError(
                "center='night' is for rows of epochs, and X holds nights: one that is relative to "
                "its own mean has a mean of 0. Use center='auto' or None, or EpochSequence(X)."
            )
        auto = "night" if encoder.centered and self.unit_ == "epoch" else None
        return auto if self.center == "auto" else self.center

    def _encode(
        self, inputs: EncoderInput, *collectors: CoverageCollector, apart: bool = False
    ) -> tuple[Engine, RowCollector]:
        """What has encoded X, and its rows; with ``apart``, what centring takes off follows."""
        engine, rows = self._open(inputs, apart)
        with closing(self._encoded(engine, inputs, rows)) as nights:
            for night in nights:
                self._take(night, rows, *collectors)
        return engine, rows

    def _encoded(
        self, engine: Engine, inputs: EncoderInput, rows: RowCollector
    ) -> Generator[EncodedNight]:
        """The nights, with a progress bar."""
        from ._parallel import encode_nights

        # closed here, as the error raised would keep the threads that read ahead alive
        nights = encode_nights(engine, inputs, rows.summary, self._pinned_checkpoint(), self.device)
        store = cast("TokenStore | None", engine.cache)
        with closing(nights):
            for night in self._with_progress(nights, len(inputs.recordings)):
                # at once, as there may be hours of encoding again ahead
                _warn_of(None if store is None else store.memory.take_complaint())
                yield night

    def _fitted_encoder(self, device: str) -> Encoder:
        from ._sleep2vec import as_encoder

        checkpoint = self._load_fitted_checkpoint()
        return as_encoder(checkpoint, self._layer(), self.precision_, device)

    def _open(self, inputs: EncoderInput, apart: bool = False) -> tuple[Engine, RowCollector]:
        """What encodes X, and what takes in its nights."""
        from .._torch import resolve_device
        from ._engine import Engine

        # a pickle may come from a machine with another device
        device = resolve_device(self.device if self.device == "auto" else self.device_)
        encoder = self._fitted_encoder(device)
        if len(self._name_columns(encoder)) != self.n_features_out_:
            raise ValueError(
                "parameters were set after fit: they ask for other columns than the "
                f"{self.n_features_out_} that fit announced. Fit again; nothing is encoded twice "
                "for it."
            )
        engine = Engine(
            encoder, self.modalities_, self.batch_size or _READ_AHEAD, open_store(self.cache),
            skip_unusable=self.on_error == "nan", find_windows=self.center_ is not None,
        )  # fmt: skip
        summary = self._row_summary(encoder, apart)
        n_columns = self.n_features_out_ * (1 + (summary.center and apart))
        # rows of a table are kept by it
        store = None if apart else cast("TokenStore | None", engine.cache)
        memory = None if store is None else store.memory
        return engine, RowCollector(inputs, n_columns, summary, memory)

    def _take(self, night: EncodedNight, *collectors: RowCollector | CoverageCollector) -> None:
        self._check_encoded(night)
        for collector in collectors:
            collector.add(night)

    def _check_encoded(self, night: EncodedNight) -> None:
        if night.error is not None and self.on_error == "raise":
            raise _with_hint(night.error)

    def _rows_of(self, engine: Engine, rows: RowCollector) -> np.ndarray:
        self._warn_of_cache(engine)
        return rows.result()

    def _warn_of_cache(self, engine: Engine) -> None:
        store = cast("TokenStore | None", engine.cache)
        _warn_of(None if store is None else store.take_complaint())

    def _split(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Rows, and what centring takes off them."""
        if self.center_ is None:
            return rows, None
        return rows[:, : self.n_features_out_], rows[:, self.n_features_out_ :]

    def _row_summary(self, encoder: Encoder, apart: bool) -> RowSummary:
        """What makes rows of the tokens of a night."""
        form = self.fusion_, self.pooling, n_around(self.context_minutes), self.center_ is not None
        return RowSummary.of(encoder, self.modalities_, *form, apart)

    def _layer(self) -> str | int:
        is_name = isinstance(self.layer, str | bool)
        return self.layer if is_name else int(check_number("layer", self.layer, whole=True))

    def _with_progress(self, nights: Iterable, n_nights: int) -> Iterator[EncodedNight]:
        n_cached = 0
        with progress_bar(self.verbose, total=n_nights, desc="encoding", unit="night") as bar:
            for night in nights:
                yield night
                n_cached += night.n_cached
                bar.set_postfix_str(f"{n_cached} signals from the cache", refresh=False)
                bar.update()

    def _provenance_of(self, inputs: EncoderInput) -> dict:
        signals = self._signals_read()
        provenance = self._provenance() | {"contents": contents_of(inputs, signals)}
        if signals != self.modalities_:
            provenance["signals"] = list(signals)
        return provenance

    def _provenance(self) -> dict:
        import sklearn
        import torch

        from .._version import __version__
        from ._engine import ENCODING_REVISION

        by_epoch = self.unit_ == "epoch"
        return {
            "checkpoint": self._load_fitted_checkpoint().name,
            "checkpoint_sha256": self.checkpoint_sha256_,
            "unit": self.unit_,
            "modalities": list(self.modalities_),
            "fusion": self.fusion_,
            "pooling": None if by_epoch else self.pooling,
            "center": self.center_,
            "context_minutes": float(self.context_minutes) if by_epoch else None,
            "layer": self._layer(),
            "precision": self.precision_,
            "device": self.device_,
            "encoding_revision": ENCODING_REVISION,
            "versions": {
                "sleep2vec_sklearn": __version__,
                "python": platform.python_version(),
                "numpy": np.__version__,
                "scikit-learn": sklearn.__version__,
                "torch": torch.__version__,
            },
            "features": self.get_feature_names_out().tolist(),
        }


def _warn_of(complaint: str | None) -> None:
    if complaint is not None:
        warn(complaint, CacheWarning)


def _with_suffix(name: str, suffix: str) -> str:
    """A column's name with ``suffix`` before its number: eeg_mean_000."""
    stem, _, number = name.rpartition("_")
    return f"{stem}{suffix}_{number}" if stem and number.isdigit() else f"{name}{suffix}"


def _with_hint(error: Sleep2VecError) -> Sleep2VecError:
    """The error of a night, with what a user of the transformer can do about it."""
    if not isinstance(error, InvalidRecordingError):
        return error
    hinted = type(error)(f"{error} Or pass on_error='nan' for a row of NaN.")
    hinted.__cause__ = error.__cause__
    return hinted
