# SPDX-License-Identifier: BSD-3-Clause
"""The leakage guard: rows of a transformer's fit, and others of the same subjects.

The encoder learns nothing at fit, but what follows it in a pipeline is fitted on the same rows. A
test row of a subject that the head was trained on makes scores too high.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator

import numpy as np

from .._warnings import warn
from ..config import get_config
from ..errors import LeakageError, LeakageWarning, Sleep2VecError
from ..recordings.recording import Recording
from .inputs import EncoderInput, RowKeys

_SUBJECTS_SHOWN = 3


class RowsBySubject:
    """The rows of X by subject, else by recording, as bit sets of epochs (100 bytes a night)."""

    def __init__(self, rows: Iterable[tuple[tuple, str, np.ndarray | None]]):
        self._rows: dict[tuple, dict[str, int]] = defaultdict(dict)
        for subject, name, epochs in rows:
            bits = 1 if epochs is None else _as_bits(epochs)
            nights = self._rows[subject]
            nights[name] = nights.get(name, 0) | bits

    @classmethod
    def of_input(cls, inputs: EncoderInput) -> RowsBySubject:
        """Those of recordings or their epochs."""
        return cls(_rows_of_input(inputs))

    @classmethod
    def of_keys(cls, keys: RowKeys) -> RowsBySubject:
        """Those of a table's rows."""
        return cls(_rows_of_keys(keys))

    def leaks_to(self, other: RowsBySubject) -> list[str]:
        """Subjects on both sides whose rows on neither side contain those of the other."""
        shared = [(s, self._rows[s], rows) for s, rows in other._rows.items() if s in self._rows]
        return [
            str(subject[1])
            for subject, own, others in shared
            if not _contains(own, others) and not _contains(others, own)
        ]


def guard(rows_at_fit: RowsBySubject | None, rows_now: Callable[[], RowsBySubject]) -> None:
    """Warn, raise or pass, as ``set_config(leakage=...)`` says, where subjects leak."""
    reaction = get_config()["leakage"]
    # pickles leave out the rows of fit
    if rows_at_fit is None or reaction == "ignore":
        return
    subjects = rows_at_fit.leaks_to(rows_now())
    if not subjects:
        return
    shown = ", ".join(subjects[:_SUBJECTS_SHOWN])
    n_more = len(subjects) - _SUBJECTS_SHOWN
    message = (
        f"X holds other rows of {len(subjects)} of the subjects this estimator was fitted on "
        f"({shown}{f' and {n_more} more' if n_more > 0 else ''}): a model trained on them "
        "has seen them, and scores come out too high. Split by subject, e.g. cv=GroupKFold() with "
        "the subjects as groups, or set_config(leakage='ignore') if this is meant."
    )
    if reaction == "raise":
        raise LeakageError(message)
    warn(message, LeakageWarning)


def _rows_of_input(inputs: EncoderInput) -> Iterator[tuple[tuple, str, np.ndarray | None]]:
    for i, recording in enumerate(inputs.recordings):
        subject = recording.subject
        # a night without a subject has no other row that could be mistaken for its own
        if subject is None and inputs.epochs is None:
            continue
        name = _name_of(recording)
        if name is not None:
            epochs = None if inputs.epochs is None else inputs.epochs[i]
            key = subject if isinstance(subject, Hashable) else str(subject)
            yield ("recording", name) if subject is None else ("subject", key), name, epochs


def _rows_of_keys(keys: RowKeys) -> Iterator[tuple[tuple, str, np.ndarray | None]]:
    order = np.argsort(keys.recording_index, kind="stable")
    indices, first = np.unique(keys.recording_index[order], return_index=True)
    for i, rows in zip(indices, np.split(order, first[1:]), strict=True):
        epochs = None if keys.epoch_index is None else keys.epoch_index[rows]
        yield ("subject", keys.subjects[i]), str(keys.names[i]), epochs


def _name_of(recording: Recording) -> str | None:
    if recording.id is not None:
        return str(recording.id)
    try:
        return recording.fingerprint
    except (OSError, Sleep2VecError):
        # a missing file is reported when its samples are read
        return None


def _as_bits(epochs: np.ndarray) -> int:
    mask = np.zeros(int(epochs.max()) + 1, dtype=bool)
    mask[epochs] = True
    return int.from_bytes(np.packbits(mask, bitorder="little").tobytes(), "little")


def _contains(outer: dict[str, int], inner: dict[str, int]) -> bool:
    return all(bits & ~outer.get(name, 0) == 0 for name, bits in inner.items())
