# SPDX-License-Identifier: BSD-3-Clause
"""Nights made ready for training, several at a time."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from .._warnings import warn
from ..errors import InvalidRecordingError, ReadError, RecordingWarning, Sleep2VecError
from ..model.config import canonical_json
from ..recordings import Recording, get_modality
from ..recordings._conditioning import condition
from ..recordings.recording import describe_recording
from .content import Content, describe_contents

__all__ = [
    "NotWrittenError",
    "PreparedNight",
    "Presence",
    "check_on_error",
    "key_of",
    "prepare_each",
    "prepare_night",
    "telling_of_writing",
]

# of the conditioning and the front ends: another one makes every night anew
PREPARATION_REVISION = 2
_REASONS_SHOWN = 3
_TO_TRANSFORMERS = " or pass on_error='nan'"


@dataclass(frozen=True, slots=True)
class Presence:
    """Which epochs of a night have which modality.

    Attributes
    ----------
    n_epochs : int
    bits : bytes
        ``ceil(n_epochs / 8)`` bytes for each modality of the store, in its order.
    """

    n_epochs: int
    bits: bytes

    @classmethod
    def pack(cls, n_epochs: int, masks: Iterable[np.ndarray | None]) -> Presence:
        """From a bool array for each modality, or None where it is absent."""
        absent = np.zeros(n_epochs, dtype=bool)
        packed = [np.packbits(absent if mask is None else mask) for mask in masks]
        return cls(n_epochs, np.concatenate(packed).tobytes())

    def mask(self, place: int) -> np.ndarray:
        """Of the modality at this place, bool of shape (n_epochs,)."""
        size = -(-self.n_epochs // 8)
        bits = np.frombuffer(self.bits, np.uint8, size, place * size)
        return np.unpackbits(bits, count=self.n_epochs).view(bool)


@dataclass(frozen=True, slots=True)
class PreparedNight:
    """One night as a store keeps it.

    Attributes
    ----------
    presence : Presence
    arrays : dict of str to ndarray of shape (n_epochs, width)
        Stored numbers of each modality that has a signal; 0 where it is missing.
    """

    presence: Presence
    arrays: dict[str, np.ndarray]

    def sums(self) -> dict[str, int]:
        """CRC-32 of each array's bytes."""
        return {name: zlib.crc32(np.ascontiguousarray(a)) for name, a in self.arrays.items()}


def prepare_night(recording: Recording, contents: Mapping[str, Content]) -> PreparedNight:
    """Read and condition a night, and compute what is kept of it.

    Raises
    ------
    InvalidRecordingError
        If it has none of the modalities, or no usable signal of them.
    """
    signals = recording.read(_names(recording, contents))
    arrays, masks = {}, {}
    for name in list(signals):
        content = contents[name]
        night = condition(
            signals.pop(name), get_modality(name), content.conditioning, recording.n_epochs
        )
        if night is not None:
            arrays[name] = content.pack(content.compute(night.epochs))
            arrays[name][~night.valid] = 0
            masks[name] = night.valid
    if not arrays:
        raise InvalidRecordingError(
            f"no usable signal: {', '.join(_names(recording, contents))} flat or mostly without "
            "samples; accepted is at least one sensor that is on for half of an epoch."
        )
    presence = Presence.pack(recording.n_epochs, map(masks.get, contents))
    return PreparedNight(presence, arrays)


def key_of(recording: Recording, contents: Mapping[str, Content]) -> str:
    """Hex sha256 of everything a prepared night depends on."""
    names = _names(recording, contents)
    parts = {
        "signals": {name: recording.signal_fingerprint(name) for name in names},
        "n_epochs": recording.n_epochs,
        "contents": describe_contents(contents),
        "revision": PREPARATION_REVISION,
    }
    return hashlib.sha256(canonical_json(json.loads(json.dumps(parts))).encode()).hexdigest()


def _names(recording: Recording, contents: Mapping[str, Content]) -> list[str]:
    names = [name for name in recording.modalities if name in contents]
    if not names:
        raise InvalidRecordingError(
            f"the night has {', '.join(recording.modalities)}, none of which the store keeps "
            f"({', '.join(contents)}). Leave it out, or name one of them in modalities."
        )
    return names


def check_on_error(on_error: str) -> None:
    """Refuse what is neither "raise" nor "warn"."""
    if on_error not in ("raise", "warn"):
        raise ValueError(f"on_error must be 'raise' or 'warn', got {on_error!r}.")


def prepare_each(
    work: Callable,
    recordings: Sequence[Recording],
    ids: Sequence[str],
    *,
    n_jobs,
    on_error,
    verbose,
) -> tuple[list[int], list, list[tuple[str, str]]]:
    """Apply ``work`` to every recording, and sort out those it cannot be applied to.

    Parameters
    ----------
    work : callable
        Of one recording; can be pickled, and its results are small.
    recordings : sequence of Recording
    ids : sequence of str
        Names of them in the failures.
    n_jobs : int or None
        Of joblib.
    on_error : {"raise", "warn"}
    verbose : int
        A progress bar from 1 on.

    Returns
    -------
    places : list of int
        Recordings that worked, in their order.
    results : list
        One for each of these.
    failures : list of (str, str)
        Id and reason of each of the others.

    Raises
    ------
    Sleep2VecError
        The first failure with ``on_error="raise"``, or if every recording failed.
    """
    done, failures = {}, []
    # closed at once where an error ends it, or the others would go on
    with closing(_outcomes(work, recordings, n_jobs)) as outcomes:
        for place, outcome in tqdm(
            outcomes, total=len(recordings), desc="preparing", unit="night", disable=not verbose
        ):
            if not isinstance(outcome, Sleep2VecError):
                done[place] = outcome
                continue
            if on_error == "raise":
                raise outcome
            failures.append((place, str(outcome)))
    failures.sort()
    reasons = [(ids[place], reason) for place, reason in failures]
    if not done:
        shown = f": {failures[0][1]}" if failures else ""
        raise InvalidRecordingError(f"none of {len(recordings)} recordings can be used{shown}")
    if failures:
        shown = "\n".join(f"- {reason}" for _, reason in failures[:_REASONS_SHOWN])
        warn(
            f"{len(failures)} of {len(recordings)} recordings are left out; all of them are in "
            f"store.failures. The first:\n{shown}",
            RecordingWarning,
        )
    places = sorted(done)
    return places, [done[place] for place in places], reasons


def _outcomes(work, recordings, n_jobs) -> Generator[tuple[int, object]]:
    tasks = (delayed(_attempt)(work, place, r) for place, r in enumerate(recordings))
    # unordered, or results would pile up behind a slow night
    return Parallel(n_jobs=n_jobs, return_as="generator_unordered")(tasks)


def _attempt(work: Callable, place: int, recording: Recording) -> tuple[int, object]:
    try:
        return place, work(recording)
    except NotWrittenError:
        raise
    except (Sleep2VecError, OSError) as error:
        kind = type(error) if isinstance(error, Sleep2VecError) else ReadError
        # what a transformer could be told to do, and a preparation cannot
        reason = str(error).replace(_TO_TRANSFORMERS, "")
        return place, kind(f"{describe_recording(recording, place)}: {reason}")


class NotWrittenError(OSError):
    """The store's folder, and no recording, is to blame: every other night would fail too."""


@contextmanager
def telling_of_writing() -> Iterator[None]:
    """Tell errors of writing apart from those of reading a recording."""
    try:
        yield
    except Sleep2VecError:
        raise
    except OSError as error:
        raise NotWrittenError(error.errno, error.strerror or str(error)) from error
