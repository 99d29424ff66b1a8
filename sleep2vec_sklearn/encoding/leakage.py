# SPDX-License-Identifier: BSD-3-Clause
"""Which rows a transformer was fitted on, and whether others come from the same subjects.

The encoder learns nothing at fit, but what follows it in a pipeline does, and is fitted on the
same rows. A test row of a subject that the head was trained on makes scores too high.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Hashable

import numpy as np

from ..config import get_config
from ..errors import LeakageError, LeakageWarning, Sleep2VecError
from ..signals.recording import Recording
from .inputs import EncoderInput

__all__ = ["RowsBySubject", "guard"]

_SUBJECTS_SHOWN = 3
_MISSING_IN_TABLES = ("nan", "<NA>", "NaT")


class RowsBySubject:
    """The rows of X by subject, else by recording, as bit sets of epochs.

    Takes some hundred bytes a night. A night is one row, and one without a subject has no other
    row that could be mistaken for its own, so it is not noted.

    Parameters
    ----------
    given : EncoderInput
        X.
    """

    def __init__(self, given: EncoderInput):
        self._rows: dict[tuple, dict[str, int]] = defaultdict(dict)
        for place, recording in enumerate(given.recordings):
            subject = _subject_of(recording)
            if subject is None and given.epochs is None:
                continue
            name = _name_of(recording)
            if name is None:
                continue
            bits = 1 if given.epochs is None else _as_bits(given.epochs[place])
            rows = self._rows["recording", name] if subject is None else self._rows[subject]
            rows[name] = rows.get(name, 0) | bits

    def leaks_to(self, other: RowsBySubject) -> list[str]:
        """Subjects on both sides whose rows on neither side contain those of the other."""
        shared = [subject for subject in other._rows if subject in self._rows]
        return [
            str(subject[1])
            for subject in shared
            if not _contains(self._rows[subject], other._rows[subject])
            and not _contains(other._rows[subject], self._rows[subject])
        ]


def guard(fitted: RowsBySubject | None, given: EncoderInput, stacklevel: int) -> None:
    """Warn, raise or pass, as ``set_config(leakage=...)`` says, where subjects leak.

    Parameters
    ----------
    fitted : RowsBySubject or None
        Rows at fit; None where they are not known, as after a pickle.
    given : EncoderInput
        Rows now.

    Raises
    ------
    LeakageError
        With ``set_config(leakage="raise")``.
    """
    reaction = get_config()["leakage"]
    if fitted is None or reaction == "ignore":
        return
    subjects = fitted.leaks_to(RowsBySubject(given))
    if not subjects:
        return
    shown = ", ".join(subjects[:_SUBJECTS_SHOWN])
    more = len(subjects) - _SUBJECTS_SHOWN
    message = (
        f"X holds other rows of {len(subjects)} of the subjects this transformer was fitted on "
        f"({shown}{f' and {more} more' if more > 0 else ''}): what was trained after it knows "
        "them, and scores come out too high. Split by subject, e.g. cv=GroupKFold() with the "
        "subjects as groups, or set_config(leakage='ignore') if this is meant."
    )
    if reaction == "raise":
        raise LeakageError(message)
    warnings.warn(message, LeakageWarning, stacklevel=stacklevel + 1)


def _subject_of(recording: Recording) -> tuple | None:
    subject = recording.subject
    # what a table has for a missing subject equals nothing, or cannot be compared at all
    if subject is None or str(subject) in _MISSING_IN_TABLES:
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
