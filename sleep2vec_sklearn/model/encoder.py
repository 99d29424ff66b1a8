# SPDX-License-Identifier: BSD-3-Clause
"""The protocol of encoders: one recording in, tokens out."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .._files import sha256
from ..errors import CheckpointError, InvalidSignalError, Sleep2VecError
from ..recordings.modality import Conditioning, get_modality

if TYPE_CHECKING:
    from ..recordings.recording import Recording

# a group of tokens, and the index of one of its derivations; each is encoded and cached by itself
Part = tuple[str, int]
_BYTES_PER_ENTRY = 512
# by hash; not one for all, as an encoder may call another, in another thread
_one_at_a_time: dict[str, threading.RLock] = {}
if hasattr(os, "register_at_fork"):
    # one that is held while an encoder works would never be released in a forked process
    os.register_at_fork(after_in_child=_one_at_a_time.clear)
_repeated: set[str] = set()  # encoders that gave the same tokens twice
_known: dict[str, tuple] = {}  # by hash, what encoders of this process are


@dataclass(frozen=True, slots=True)
class EncodedModality:
    """Tokens of one group of one night."""

    tokens: np.ndarray  # float32 [n_epochs, width]; what stands in a gap is not used
    valid: np.ndarray  # bool [n_epochs], False where the group is missing
    summary: np.ndarray | None = None  # float32 [width], the mean CLS vector over windows

    @classmethod
    def missing(cls) -> EncodedModality:
        """A sensor without any usable sample."""
        return cls(np.empty((0, 0), dtype=np.float32), np.zeros(0, dtype=bool))

    @property
    def n_bytes(self) -> int:
        """Memory held, with an allowance for the entry itself: a missing sensor has no tokens."""
        summary = 0 if self.summary is None else self.summary.nbytes
        return self.tokens.nbytes + self.valid.nbytes + summary + _BYTES_PER_ENTRY


@dataclass(frozen=True, slots=True)
class SignalInput:
    """One signal that an encoder reads, and what it does to it first.

    Attributes
    ----------
    modality : str
        Catalogue name, e.g. ``"eeg"``.
    rate : float or None
        Hz it is brought to; None if it is read at its own.
    unit : str or None
        Unit it is brought to; None if the unit does not matter.
    min_rate : float or None
        Slowest native rate accepted, in Hz.
    derivation : str
        The one it was made for, in words: ``"any"``, ``"central EEG against the other ear"``.
    conditioning : str or Conditioning
        Filters and scaling, in words or as settings.

    Examples
    --------
    >>> from sleep2vec_sklearn.model import SignalInput
    >>> SignalInput("eeg", rate=100, derivation="central").rate
    100
    """

    modality: str
    rate: float | None = None
    unit: str | None = None
    min_rate: float | None = None
    derivation: str = "any"
    conditioning: str | Conditioning = "none"


@dataclass(frozen=True, eq=False, repr=False)
class Encoder:
    """Turns one recording into tokens, a vector for each epoch of 30 s.

    :class:`~sleep2vec_sklearn.Sleep2VecTransformer`, the fine-tuning estimators and the studies
    take any object of a subclass as ``checkpoint``. A subclass writes :meth:`encode`, and gets the
    attributes by the constructor, which an ``__init__`` of its own calls by ``super()``; caching,
    fusion, pooling, centring, workers and errors are not its business.

    Attributes
    ----------
    name : str
        For messages and tables.
    sha256 : str
        64 hex digits over all that tokens depend on, such as the file of the weights. Tokens are
        cached by it: two encoders of one hash are taken for the same.
    groups : dict of str to tuple of str
        Groups of tokens, in order, and the modalities each is made of, such as
        ``{"eeg": ("eeg",), "resp": ("airflow", "effort")}``. A night has a group if it has one of
        its modalities.
    widths : dict of str to int
        Length of the vectors of each group.
    inputs : tuple of SignalInput
        What it reads, for documentation.
    context_epochs : int or None
        Epochs that a vector may depend on, itself included; None for the whole night.
    shared_space : bool
        Whether the vectors of all groups lie in one space and may be averaged
        (``fusion="mean"``). Else rows hold one block a group (``"concat"``).
    shared_width : int or None
        How many of the first numbers of vectors do so, if not all. The others follow in rows, one
        block a group; ``background`` groups have nothing else.
    centered : bool
        What ``center="auto"`` means for rows of epochs: True subtracts the night's mean.
    has_summary : bool
        Whether it gives a vector of the whole night as well (``pooling="cls"``).
    prefix : str or None
        Begin of the names of columns that are a mean over groups; by default made of ``name``.
    background : tuple of str
        Groups that are no sensor, such as the time: a night that has no other is unusable.
    card : dict
        What is known of the encoder: provenance, licence, training data, ...

    Examples
    --------
    An encoder of the heart rate alone:

    >>> import hashlib
    >>> import numpy as np
    >>> from sleep2vec_sklearn import Sleep2VecTransformer, make_sleep_cohort
    >>> from sleep2vec_sklearn.model import Encoder
    >>> class HeartRate(Encoder):
    ...     def encode(self, recording, group):
    ...         intervals = recording["ibi"].reshape(recording.n_epochs, -1)
    ...         return np.column_stack([60 / intervals.mean(axis=1), intervals.std(axis=1)])
    >>> digest = hashlib.sha256(b"heart rate, version 1").hexdigest()
    >>> encoder = HeartRate("heart-rate", digest, {"ibi": ("ibi",)}, {"ibi": 2})
    >>> nights = make_sleep_cohort(2, hours=1, modalities=["ibi"], random_state=0)
    >>> Sleep2VecTransformer(encoder).fit_transform(nights).shape
    (2, 2)
    """

    name: str
    sha256: str
    groups: Mapping[str, tuple[str, ...]]
    widths: Mapping[str, int]
    inputs: tuple[SignalInput, ...] = ()
    context_epochs: int | None = 1
    shared_space: bool = True
    centered: bool = False
    has_summary: bool = False
    prefix: str | None = None
    background: tuple[str, ...] = ()
    card: dict = field(default_factory=dict)
    shared_width: int | None = None

    @property
    def key(self) -> tuple:
        """What tokens depend on besides the signal, for the cache."""
        return self.sha256, "last", "float32"

    def encode(self, recording: Recording, group: str) -> Any:
        """The vectors of one group.

        Called from one thread at a time. What is not finite is refused, unless its epoch is
        missing.

        Parameters
        ----------
        recording : Recording
            It has at least one of the group's modalities.
        group : str
            One of :attr:`groups`.

        Returns
        -------
        array of shape (n_epochs, width), or a pair of it and a bool array of shape (n_epochs,)
            The second says which epochs have the group; all, if it is left out. With
            :attr:`has_summary` a third item follows, the vector of the night, of shape (width,).
        """
        raise NotImplementedError(f"{type(self).__name__} does not define encode().")

    def feature_names(self, group: str) -> list[str]:
        """Names of the numbers of a group's vectors; of shape (width,)."""
        digits = max(3, len(str(self.widths[group] - 1)))
        return [f"{group}_{i:0{digits}d}" for i in range(self.widths[group])]

    def neutral(self, group: str) -> np.ndarray:
        """What stands in rows for a group that a night lacks, in place of what is not shared."""
        return np.zeros(self.widths[group] - self.n_shared(group), dtype=np.float32)

    def n_shared(self, group: str) -> int:
        """How many of the first numbers of a group's vectors lie in the shared space."""
        if not self.shared_space or (self.shared_width is not None and group in self.background):
            return 0
        return self.widths[group] if self.shared_width is None else self.shared_width

    def night_names(self, group: str) -> list[str]:
        """Names of what :meth:`night_block` gives."""
        return self.feature_names(group)[self.n_shared(group) :]

    def night_block(self, group: str) -> Callable[[EncodedModality | None], np.ndarray]:
        """What makes the numbers of a night of those that are not shared: by default their mean."""
        return partial(_mean_of_night, self.n_shared(group), self.neutral(group))

    def parts(self, recording: Recording, groups: Sequence[str]) -> list[Part]:
        """What is encoded and cached by itself: by default each group that the night has."""
        names = set(recording.modalities)
        return [(group, 0) for group in groups if names.intersection(self.groups[group])]

    def fingerprint(self, recording: Recording, part: Part) -> str:
        """Hash of the signals that the tokens of a part are made of."""
        names = [name for name in self.groups[part[0]] if name in recording.modalities]
        kept = recording.derivations if recording.derivation_mode == "all" else {}
        signals = [
            (name, recording.signal_fingerprint(name, index))
            for name in names
            for index in range(len(kept.get(name, ())) or 1)
        ]
        return sha256(repr(signals))

    def tasks(
        self, recording: Recording, parts: Sequence[Part]
    ) -> Iterator[tuple[Part, Callable[[], EncodedModality]]]:
        """The calls that encode the parts of a night, each with its part."""
        for part in parts:
            yield part, partial(self._encode_part, recording, part[0])

    def _encode_part(self, recording: Recording, group: str) -> EncodedModality:
        with _one_at_a_time.setdefault(self.sha256, threading.RLock()):
            encoded = self._encode_checked(recording, group)
            if self.sha256 not in _repeated:
                again = self._encode_checked(recording, group)
                if not np.allclose(encoded.tokens, again.tokens, rtol=1e-3, atol=1e-4):
                    raise CheckpointError(
                        f"{self.name} gave other tokens for {group!r} of the same night at a "
                        "second call, so rows could not be repeated. Switch dropout off with "
                        "network.eval(), or seed what is random in its encode()."
                    )
                _repeated.add(self.sha256)
        return encoded

    def _encode_checked(self, recording: Recording, group: str) -> EncodedModality:
        try:
            return check_tokens(self, recording, group, self.encode(recording, group))
        except (Sleep2VecError, OSError, MemoryError):
            raise
        except Exception as error:
            raise InvalidSignalError(
                f"{self.name} failed at {group!r} ({type(error).__name__}: {error}). Fix its "
                "encode(), or leave the recording out."
            ) from error

    def __deepcopy__(self, memo: dict) -> Encoder:
        # scikit-learn clones a parameter by a deep copy, in every fold
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, sha256={self.sha256[:12]!r})"


def _mean_of_night(
    n_shared: int, neutral: np.ndarray, encoded: EncodedModality | None
) -> np.ndarray:
    return neutral if encoded is None else encoded.tokens[encoded.valid, n_shared:].mean(axis=0)


def mean_names(encoder: Encoder) -> list[str]:
    """Names of the columns that are a mean over groups."""
    first = next(iter(encoder.groups))
    width = encoder.n_shared(first)
    if len(encoder.groups) == 1 and encoder.prefix is None:
        return encoder.feature_names(first)[:width]
    prefix = encoder.prefix or re.sub(r"\W+", "_", encoder.name.lower())
    digits = max(3, len(str(width - 1)))
    return [f"{prefix}_{i:0{digits}d}" for i in range(width)]


def check_encoder(encoder: Any) -> None:
    """Raise a CheckpointError unless an object keeps to the protocol."""
    if not isinstance(encoder, Encoder):
        raise CheckpointError(
            f"{encoder!r} is no encoder; accepted are the name or path of a checkpoint, or an "
            "object of a subclass of sleep2vec_sklearn.model.Encoder."
        )
    _check_attributes(encoder)
    widths = tuple((group, encoder.widths[group]) for group in encoder.groups)
    identity = (type(encoder).__qualname__, encoder.name, widths)
    if _known.setdefault(encoder.sha256, identity) != identity:
        raise CheckpointError(
            f"{type(encoder).__qualname__} {encoder.name!r} has sha256 {encoder.sha256[:12]}, "
            f"which {_known[encoder.sha256][0]} {_known[encoder.sha256][1]!r} has too, and tokens "
            "are cached by it. Hash all that tokens depend on."
        )


def _check_attributes(encoder: Encoder) -> None:
    """Refuse a hash, groups, widths or names that cannot be used."""
    problem, groups, widths = None, encoder.groups, encoder.widths
    if not re.fullmatch("[0-9a-f]{64}", str(encoder.sha256)):
        problem = f"sha256={encoder.sha256!r}; accepted are 64 hex digits"
    elif not _is_filled(groups) or any(not m or isinstance(m, str) for m in groups.values()):
        problem = (
            f"groups={groups!r}; accepted is at least one, each with a tuple of modalities, such "
            "as {'eeg': ('eeg',)}"
        )
    elif not _is_filled(widths) or set(widths) != set(groups) or not _are_counts(widths.values()):
        problem = f"widths={widths!r}; accepted is a length for each of its groups"
    elif encoder.shared_space and encoder.shared_width is None and len(set(widths.values())) > 1:
        problem = (
            f"shared_space=True and widths={encoder.widths!r}; accepted is one width, "
            "shared_space=False, or a shared_width"
        )
    elif any(not 0 <= encoder.n_shared(group) <= widths[group] for group in groups):
        problem = (
            f"shared_width={encoder.shared_width!r} and widths={widths!r}; accepted is one up to "
            "the smallest"
        )
    elif any(
        np.shape(encoder.neutral(group)) != (widths[group] - encoder.n_shared(group),)
        for group in groups
    ):
        problem = f"neutral() of another shape than widths={widths!r}; accepted is (width,)"
    else:
        names = [name for group in encoder.groups for name in encoder.feature_names(group)]
        if len(names) != sum(encoder.widths.values()) or len(set(names)) < len(names):
            problem = (
                f"{len(names)} feature names, {len(set(names))} of them different; accepted are "
                f"{sum(encoder.widths.values())} different ones"
            )
        for modality in dict.fromkeys(m for group in encoder.groups.values() for m in group):
            get_modality(modality)
    if problem is not None:
        raise CheckpointError(f"{type(encoder).__name__} {encoder.name!r} has {problem}.")


def _is_filled(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) > 0


def _are_counts(values: Iterable) -> bool:
    return all(isinstance(value, int | np.integer) and value > 0 for value in values)


def check_tokens(
    encoder: Encoder, recording: Recording, group: str, encoded: Any
) -> EncodedModality:
    """What :meth:`Encoder.encode` returned, or a CheckpointError if it is no block of tokens."""
    items = encoded if isinstance(encoded, tuple) else (encoded,)
    tokens, valid, summary = (*items, None, None)[:3]
    tokens = np.asarray(tokens, dtype=np.float32)
    shape, of_epochs = (recording.n_epochs, encoder.widths[group]), (recording.n_epochs,)
    valid = np.ones(of_epochs, dtype=bool) if valid is None else np.asarray(valid, dtype=bool)
    if tokens.shape != shape or valid.shape != of_epochs:
        raise CheckpointError(
            f"{encoder.name} gave tokens of shape {tokens.shape} for {group!r}, valid epochs of "
            f"shape {valid.shape}; accepted are {shape}, one row an epoch, and {of_epochs}. Fix "
            f"its encode()."
        )
    if not np.isfinite(tokens[valid]).all():
        n_wrong = int((~np.isfinite(tokens).all(axis=1) & valid).sum())
        raise CheckpointError(
            f"{encoder.name} gave tokens for {group!r} that are not finite in {n_wrong} epochs. "
            "Fix its encode(), or return which epochs are valid beside them."
        )
    summary = np.asarray(summary, dtype=np.float32) if encoder.has_summary else None
    if summary is not None and (summary.shape != shape[1:] or not np.isfinite(summary).all()):
        raise CheckpointError(
            f"{encoder.name} gave a vector of the night of shape {summary.shape} for {group!r}; "
            f"accepted, as a third item, is a finite one of shape {shape[1:]}. Fix its encode(), "
            "or set has_summary=False."
        )
    return EncodedModality(np.where(valid[:, None], tokens, 0), valid, summary)
