# SPDX-License-Identifier: BSD-3-Clause
"""Which rows a transformer was fitted on, and whether others come from the same subjects.

The encoder learns nothing at fit, but what follows it in a pipeline does, and is fitted on the
same rows. A test row of a subject that the head was trained on makes scores too high.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable

import numpy as np

from .._warnings import warn
from ..config import get_config
from ..errors import LeakageError, LeakageWarning, Sleep2VecError
from ..recordings.recording import Recording
from .inputs import EncoderInput, RowKeys

__all__ = [
    "RowsBySubject",
    "guard",
]

_SUBJECTS_SHOWN = 3


class RowsBySubject:
    """The rows of X by subject, else by recording, as bit sets of epochs.

    Takes some hundred bytes a night.

    Parameters
    ----------
    rows : iterable of (subject, recording, epochs)
        Subject as a key of its own kind, name of the recording, and an int array of its epochs, or
        None where the night is one row.
    """

    def __init__(self, rows: Iterable[tuple[tuple, str, np.ndarray | None]]):
        self._rows: dict[tuple, dict[str, int]] = defaultdict(dict)
        for subject, name, epochs in rows:
            bits = 1 if epochs is None else _as_bits(epochs)
            nights = self._rows[subject]
            nights[name] = nights.get(name, 0) | bits

    @classmethod
    def of_input(cls, given: EncoderInput) -> RowsBySubject:
        """Those of recordings or their epochs.

        A night without a subject has no other row that could be mistaken for its own, so it is
        not noted.
        """

        def rows():
            for place, recording in enumerate(given.recordings):
                subject = _subject_of(recording)
                if subject is None and given.epochs is None:
                    continue
                name = _name_of(recording)
                if name is not None:
                    epochs = None if given.epochs is None else given.epochs[place]
                    yield subject or ("recording", name), name, epochs

        return cls(rows())

    @classmethod
    def of_keys(cls, keys: RowKeys) -> RowsBySubject:
        """Those of a table's rows."""

        def rows():
            order = np.argsort(keys.recording_index, kind="stable")
            places, first = np.unique(keys.recording_index[order], return_index=True)
            for place, mine in zip(places, np.split(order, first[1:]), strict=True):
                epochs = None if keys.epoch_index is None else keys.epoch_index[mine]
                yield ("subject", keys.subjects[place]), str(keys.names[place]), epochs

        return cls(rows())

    def leaks_to(self, other: RowsBySubject) -> list[str]:
        """Subjects on both sides whose rows on neither side contain those of the other."""
        shared = [subject for subject in other._rows if subject in self._rows]
        return [
            str(subject[1])
            for subject in shared
            if not _contains(self._rows[subject], other._rows[subject])
            and not _contains(other._rows[subject], self._rows[subject])
        ]


def guard(fitted: RowsBySubject | None, look: Callable[[], RowsBySubject]) -> None:
    """Warn, raise or pass, as ``set_config(leakage=...)`` says, where subjects leak.

    Parameters
    ----------
    fitted : RowsBySubject or None
        Rows at fit; None where they are not known, as after a pickle.
    look : callable
        Gives the rows now; called only where they matter.

    Raises
    ------
    LeakageError
        With ``set_config(leakage="raise")``.
    """
    reaction = get_config()["leakage"]
    if fitted is None or reaction == "ignore":
        return
    subjects = fitted.leaks_to(look())
    if not subjects:
        return
    shown = ", ".join(subjects[:_SUBJECTS_SHOWN])
    more = len(subjects) - _SUBJECTS_SHOWN
    message = (
        f"X holds other rows of {len(subjects)} of the subjects this estimator was fitted on "
        f"({shown}{f' and {more} more' if more > 0 else ''}): what was trained on them "
        "knows them, and scores come out too high. Split by subject, e.g. cv=GroupKFold() with the "
        "subjects as groups, or set_config(leakage='ignore') if this is meant."
    )
    if reaction == "raise":
        raise LeakageError(message)
    warn(message, LeakageWarning)


def _subject_of(recording: Recording) -> tuple | None:
    subject = recording.subject
    if subject is None:
        return None
    return ("subject", subject if isinstance(subject, Hashable) else str(subject))


def _name_of(recording: Recording) -> str | None:
    if recording.id is not None:
        return str(recording.id)
    try:
        return recording.fingerprint
    except (OSError, Sleep2VecError):
        # a file that is gone is told when its samples are read
        return None


def _as_bits(epochs: np.ndarray) -> int:
    mask = np.zeros(int(epochs.max()) + 1, dtype=bool)
    mask[epochs] = True
    return int.from_bytes(np.packbits(mask, bitorder="little").tobytes(), "little")


def _contains(these: dict[str, int], those: dict[str, int]) -> bool:
    return all(bits & ~these.get(name, 0) == 0 for name, bits in those.items())
