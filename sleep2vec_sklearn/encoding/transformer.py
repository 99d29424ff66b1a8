# SPDX-License-Identifier: BSD-3-Clause
"""Sleep2VecTransformer: the scikit-learn transformer around a pretrained encoder."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from .._validation import NON_NEGATIVE, PRECISION, StrOptions, count, validate_params
from .._warnings import warn
from ..errors import CacheWarning, CheckpointError, InvalidRecordingError, Sleep2VecError
from ._base import CheckpointMixin, RecordingTransformerMixin, choose_modalities
from ._leakage import RowsBySubject, guard
from ._pooling import FUSIONS, POOLINGS, RowCollector, RowSummary, n_around
from .cache import check_cache, open_store
from .inputs import EncoderInput, RowKeys, read_input
from .table import CoverageCollector, EmbeddingTable, contents_of

if TYPE_CHECKING:
    from ..model.checkpoint import Checkpoint
    from ..model.config import EncoderConfig
    from ._engine import EncodedNight

_READ_AHEAD = 2


class Sleep2VecTransformer(CheckpointMixin, RecordingTransformerMixin, BaseEstimator):
    """Embed nights of sleep with a pretrained encoder; one row per element of X.

    A list of recordings gives one row per night, pooled over its epochs; an element that is
    itself a list of nights gives one row for that subject, the mean of its nights' rows. An
    :class:`EpochSequence` gives one row per 30-s epoch. Any non-empty subset of the modalities
    works, night by night and epoch by epoch.

    Parameters
    ----------
    checkpoint : str, path or Checkpoint, default="sleep2vec-mini"
        Name of a bundled encoder, a file written by :func:`save_checkpoint`, one of the authors'
        ``.ckpt`` files, or a loaded one.
    modalities : sequence of str, optional
        Modalities to use; all that the checkpoint supports by default. Never taken from the data,
        so the width is the same in every fold.
    fusion : {"mean", "concat"}, default="mean"
        The mean of the tokens of an epoch's modalities; or one block per modality, a missing one
        filled with the mean of the others.
    pooling : {"mean", "mean_std", "max", "cls"}, default="mean"
        How the epochs of a night become one row; "cls" where the checkpoint has a CLS token.
        Does not apply to epochs.
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
        Pickles carry the checkpoint's name and hash only, unless it was passed as a Checkpoint;
        True makes them self-contained.
    verbose : int, default=0
        1 shows a progress bar.

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
        "context_minutes": [NON_NEGATIVE], "precision": [PRECISION], "batch_size": [count(), None],
        "on_error": [StrOptions({"raise", "nan"})], "store_weights_in_pickle": ["boolean"],
        "verbose": ["verbose"],
    }  # fmt: skip

    def __init__(
        self, checkpoint: str | PathLike | Checkpoint = "sleep2vec-mini", *,
        modalities: str | Sequence[str] | None = None, fusion: str = "mean", pooling: str = "mean",
        context_minutes: float = 0, layer: str | int = "last", precision: str = "float32",
        device: str = "auto", batch_size: int | None = None,
        cache: str | PathLike | None = "memory", on_error: str = "raise",
        store_weights_in_pickle: bool = False, verbose: int = 0,
    ):  # fmt: skip
        self.checkpoint = checkpoint
        self.modalities = modalities
        self.fusion = fusion
        self.pooling = pooling
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

        validate_params(self)
        check_cache(self.cache)
        inputs = read_input(X, self.on_error)
        checkpoint = self._load_checkpoint()
        config = checkpoint.config
        _check_output(config, self.layer, self.pooling)
        self.modalities_ = choose_modalities(self.modalities, config.names, inputs.recordings)
        self.unit_ = inputs.unit
        self.device_ = resolve_device(self.device)
        self.precision_ = resolve_precision(self.precision, self.device_)
        self.checkpoint_sha256_ = checkpoint.sha256
        self.n_features_out_ = self._count_features(config)
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
        return self._label_rows(self._encode(inputs), inputs)

    def embed(self, X: Any) -> EmbeddingTable:
        """Embed recordings or epochs into a table, to be saved and looked up later.

        Parameters
        ----------
        X : list of Recording or dict, list of lists of them, or EpochSequence
            As of :meth:`transform`, whose errors it raises; each recording with an id of its own.

        Returns
        -------
        EmbeddingTable
            The rows of :meth:`transform`, their names, the seconds of each modality behind them,
            and their provenance. :class:`PrecomputedEmbeddings` looks rows up in it.
        """
        inputs = self._read_as_fitted(X)
        coverage = CoverageCollector(inputs, self.modalities_)
        rows = self._encode(inputs, coverage)
        keys = RowKeys.from_input(inputs)
        contents = {"contents": contents_of(inputs, self.modalities_)}
        return EmbeddingTable(keys, rows, coverage.seconds, self._provenance() | contents)

    def __getstate__(self) -> dict:
        state = super().__getstate__()
        if self.store_weights_in_pickle:
            state["checkpoint"] = self._load_checkpoint()
        return state

    def _read_as_fitted(self, X: Any) -> EncoderInput:
        check_is_fitted(self, "checkpoint_sha256_")
        inputs = read_input(X, self.on_error)
        self._check_unit(inputs)
        return inputs

    def _count_features(self, config: EncoderConfig) -> int:
        projection = config.projection if self.layer == "projection" else None
        width = config.hidden_size if projection is None else projection.out_size
        width *= len(self.modalities_) if self.fusion == "concat" else 1
        return width * len(self._parts())

    def _column_names(self) -> list[str]:
        blocks = self.modalities_ if self.fusion == "concat" else ("sleep2vec",)
        parts = self._parts()
        width = self.n_features_out_ // len(blocks) // len(parts)
        digits = max(3, len(str(width - 1)))
        return [f"{b}{p}_{i:0{digits}d}" for p in parts for b in blocks for i in range(width)]

    def _parts(self) -> tuple[str, ...]:
        """Suffixes of the columns' names, one for each vector of a row."""
        if self.unit_ == "epoch":
            return ("", "_around") if n_around(self.context_minutes) else ("",)
        return ("_mean", "_std") if self.pooling == "mean_std" else ("",)

    def _encode(self, inputs: EncoderInput, *collectors: CoverageCollector) -> np.ndarray:
        from .._torch import resolve_device
        from ._engine import Engine
        from ._parallel import encode_nights

        checkpoint = self._load_fitted_checkpoint()
        width = self._count_features(checkpoint.config)
        if width != self.n_features_out_:
            raise ValueError(
                f"parameters were set after fit: they ask for {width} columns, fit announced "
                f"{self.n_features_out_}. Fit again; nothing is encoded twice for it."
            )
        store, layer = open_store(self.cache), self._layer()
        # a pickle may come from a machine with another device
        device = resolve_device(self.device if self.device == "auto" else self.device_)
        read_ahead = self.batch_size or _READ_AHEAD
        engine = Engine(
            checkpoint, self.modalities_, layer, self.precision_, device, read_ahead, store,
            skip_unusable=self.on_error == "nan",
        )  # fmt: skip
        n_epochs = n_around(self.context_minutes)
        summary = RowSummary(self.modalities_, self.fusion, self.pooling, n_epochs)
        rows = RowCollector(inputs, self.n_features_out_, summary)
        # closed here, as the error raised would keep the threads that read ahead alive
        nights = encode_nights(engine, inputs, summary, self.checkpoint, self.device)
        with closing(nights):
            for night in self._with_progress(nights, len(inputs.recordings)):
                if night.error is not None and self.on_error == "raise":
                    raise _with_hint(night.error)
                rows.add(night)
                for collector in collectors:
                    collector.add(night)
        complaint = None if store is None else store.take_complaint()
        if complaint is not None:
            warn(complaint, CacheWarning)
        return rows.result()

    def _layer(self) -> str | int:
        return self.layer if isinstance(self.layer, str) else int(self.layer)

    def _with_progress(self, nights: Iterable, n_nights: int) -> Iterator[EncodedNight]:
        if not self.verbose:
            yield from nights
            return
        from tqdm.auto import tqdm

        n_cached = 0
        with tqdm(total=n_nights, desc="encoding", unit="night") as bar:
            for night in nights:
                yield night
                n_cached += night.n_cached
                bar.set_postfix_str(f"{n_cached} signals from the cache", refresh=False)
                bar.update()

    def _provenance(self) -> dict:
        import sklearn
        import torch

        from .._version import __version__
        from ._engine import ENCODING_REVISION

        by_epoch = self.unit_ == "epoch"
        return {
            "checkpoint": self._load_checkpoint().name,
            "checkpoint_sha256": self.checkpoint_sha256_,
            "unit": self.unit_,
            "modalities": list(self.modalities_),
            "fusion": self.fusion,
            "pooling": None if by_epoch else self.pooling,
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


def _check_output(config: EncoderConfig, layer: str | int, pooling: str) -> None:
    """Refuse a layer or a pooling that the checkpoint does not have."""
    if layer == "projection" and config.projection is None:
        raise CheckpointError("layer='projection': this checkpoint has no projection head.")
    if pooling == "cls" and not (config.cls and layer != "projection"):
        raise CheckpointError("pooling='cls': this checkpoint has no CLS token to give.")
    accepted = ("last", "projection", *range(config.n_layers + 1))
    if isinstance(layer, bool) or layer not in accepted:
        listed = ", ".join(map(repr, accepted))
        raise ValueError(f"layer must be one of {listed}; got {layer!r}.")


def _with_hint(error: Sleep2VecError) -> Sleep2VecError:
    """The error of a night, with what a user of the transformer can do about it."""
    if not isinstance(error, InvalidRecordingError):
        return error
    hinted = type(error)(f"{error} Or pass on_error='nan' for a row of NaN.")
    hinted.__cause__ = error.__cause__
    return hinted
