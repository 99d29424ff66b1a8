# SPDX-License-Identifier: BSD-3-Clause
"""X with its nights exchanged for others, row by row the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from ..errors import InvalidRecordingError
from ..signals.epochs import EpochSequence, as_epoch_sequence
from ..signals.modality import MODALITIES, list_modalities
from ..signals.recording import Recording, as_recording

__all__ = ["Nights", "check_reads_signals", "choose_modalities", "supported_modalities"]


class Nights:
    """The recordings behind X, each once.

    Parameters
    ----------
    X : list of Recording or dict, list of lists of them, or EpochSequence

    Attributes
    ----------
    recordings : tuple of Recording
    X : list or EpochSequence
        As given, dicts made recordings.

    Raises
    ------
    InvalidRecordingError
        If X is something else.
    """

    def __init__(self, X):
        epochs = as_epoch_sequence(X)
        if epochs is not None:
            self.X = epochs
            self.recordings = epochs.recordings
            return
        rows = X.tolist() if hasattr(X, "iloc") and X.ndim == 1 else X
        if not isinstance(rows, Sequence | np.ndarray) or isinstance(rows, str):
            raise InvalidRecordingError(
                f"X is a {type(X).__module__}.{type(X).__name__}; a study of sensors needs the "
                "recordings themselves: a list of them, or an EpochSequence."
            )
        self.X = [_read_row(row, place) for place, row in enumerate(rows)]
        self.recordings = tuple({id(night): night for night in self._flat()}.values())

    def __len__(self) -> int:
        return len(self.X)

    def _flat(self) -> Iterator[Recording]:
        for row in self.X:
            yield from row if isinstance(row, list) else [row]

    @property
    def modalities(self) -> tuple[str, ...]:
        """All that any of the nights has, in the catalogue's order."""
        found = {name for night in self.recordings for name in night.modalities}
        return tuple(name for name in MODALITIES if name in found)

    def change(self, changed: Callable[[Recording, int], Recording | None]):
        """Exchange each night for another, or for none.

        Parameters
        ----------
        changed : callable
            Function of a night and its place in ``recordings``; None leaves it out.

        Returns
        -------
        X : list or EpochSequence
            Without the rows that have no night left.
        kept : int ndarray
            Their places in the X given.
        """
        new = [changed(night, place) for place, night in enumerate(self.recordings)]
        if isinstance(self.X, EpochSequence):
            return self._change_epochs(new)
        by_identity = {id(old): n for old, n in zip(self.recordings, new, strict=True)}
        rows, kept = [], []
        for place, row in enumerate(self.X):
            several = isinstance(row, list)
            nights = [by_identity[id(night)] for night in (row if several else [row])]
            nights = [night for night in nights if night is not None]
            if nights:
                rows.append(nights if several else nights[0])
                kept.append(place)
        return rows, np.array(kept, dtype=int)

    def _change_epochs(self, new: Sequence[Recording | None]):
        exists = np.array([night is not None for night in new])
        kept = np.flatnonzero(exists[self.X.recording_index])
        if not len(kept):
            return [], kept
        place = np.cumsum(exists) - 1
        nights = [night for night in new if night is not None]
        starts = np.cumsum([0, *(night.n_epochs for night in nights)])
        rows = starts[place[self.X.recording_index[kept]]] + self.X.epoch_index[kept]
        return EpochSequence(nights)[rows], kept


def _read_row(row, place: int):
    if isinstance(row, list | tuple):
        return [as_recording(night, f"{place}, night {k}") for k, night in enumerate(row)]
    return as_recording(row, place)


def _parts_of(estimator) -> Iterator:
    """An estimator, and what it is made of."""
    yield estimator
    best = getattr(estimator, "best_estimator_", None) or getattr(estimator, "estimator", None)
    if best is not None and not isinstance(best, str):
        yield from _parts_of(best)
    for kind in ("steps", "transformer_list"):
        for step in getattr(estimator, kind, ()):
            yield from _parts_of(step[1])


def supported_modalities(estimator) -> tuple[str, ...] | None:
    """What a fitted estimator reads, if one of its parts tells."""
    for part in _parts_of(estimator):
        names = getattr(part, "modalities_", None)
        if names is not None:
            return tuple(names)
    return None


def check_reads_signals(estimator) -> None:
    """Refuse an estimator that looks its rows up by name, whatever the sensors.

    Raises
    ------
    TypeError
        If a part of it is a PrecomputedEmbeddings.
    """
    if any(type(part).__name__ == "PrecomputedEmbeddings" for part in _parts_of(estimator)):
        raise TypeError(
            "PrecomputedEmbeddings looks rows up by recording, so a lost sensor would change "
            "nothing. Use a Sleep2VecTransformer; its cache encodes each signal once."
        )


def choose_modalities(names, nights: Nights, supported: Sequence[str] | None) -> tuple[str, ...]:
    """The modalities to study: those named, else all that the nights have and estimators read.

    Raises
    ------
    UnknownModalityError
        If a name is not in the catalogue.
    InvalidRecordingError
        If no night has one, or the estimator does not read it.
    """
    there = nights.modalities
    if names is None:
        chosen = tuple(name for name in there if supported is None or name in supported)
    else:
        chosen = tuple(list_modalities(names))
    absent = [name for name in chosen if name not in there]
    if absent or not chosen:
        raise InvalidRecordingError(
            f"{', '.join(absent) or 'no modality'}: in none of the {len(nights.recordings)} "
            f"nights that the estimator reads; they have {', '.join(there)}. Leave it out."
        )
    unread = [name for name in chosen if supported is not None and name not in supported]
    if unread:
        raise InvalidRecordingError(
            f"{', '.join(unread)}: not read by this estimator, which was fitted for "
            f"{', '.join(supported)}. Leave it out, or fit one that reads it."
        )
    return chosen
