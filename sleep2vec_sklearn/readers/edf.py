# SPDX-License-Identifier: BSD-3-Clause
"""Lazy sources of EDF, EDF+ and BDF files, at native rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ReadError
from ..recordings.sources import Signal
from ._boundary import (
    LONGEST_DAYS,
    LONGEST_SECONDS,
    check_added_samples,
    only_read_errors,
)
from ._edf_header import EdfChannel, EdfHeader, read_header
from ._montage import Channel, Derivation, MontageSource
from ._scoring import Scoring
from .hypnograms import read_edf_annotations

_N_PROBES = 8
_LONGEST_JITTER = 0.5
# of a file whose time stamps are all read: one each second of a month
_MOST_STAMPS = 3_000_000


class EdfSource(MontageSource):
    """Signals of one EDF, EDF+ or BDF file.

    The header is read at construction, samples later: each :meth:`read` passes through the file
    once and takes only the channels it needs, as float32 in physical units. Gaps between records
    become NaN: the time stamps of a discontinuous file (EDF+D) are read at construction; of other
    EDF+ files, which may have gaps as well, eight of them, and all if these do not fit.

    Parameters
    ----------
    path : path-like
        The file.
    modalities : sequence of str, optional
        Only these.
    channels : mapping, optional
        Modality to label, (label, reference label), or None to leave it out; overrides the choice
        by labels.
    units, derivations : optional
        As in :func:`~sleep2vec_sklearn.read_recording`.

    Attributes
    ----------
    header : EdfHeader
        Header without the patient's name.
    start, metadata : datetime or None, dict
        Clock time of the first sample; sex and age, if an EDF+ header states them.
    files : tuple of Path
        Files that fingerprints are computed from.
    montage : Montage
        Derivation of each modality.
    notes : tuple of str
        What was left out, repaired or assumed.

    Raises
    ------
    ReadError
        If the file is missing, truncated, corrupt or of another format; if it lasts for more than
        31 days, or its gaps would take 25,000,000 samples or more of a channel.
    NoUsableChannelError
        If none of its channels maps to a wanted modality.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort
    >>> from sleep2vec_sklearn.datasets import write_edf_cohort
    >>> from sleep2vec_sklearn.readers import EdfSource
    >>> names = ["eeg", "effort"]
    >>> night = make_sleep_cohort(1, hours=0.5, modalities=names, missing=0, random_state=0)
    >>> source = EdfSource(write_edf_cohort(night, "study")[0])
    >>> source.duration, list(source.layout)
    (1800.0, ['eeg', 'effort'])
    """

    _format = "edf"

    def _open_header(self) -> list[Channel]:
        self.header = read_header(self.path)
        self.start, self.metadata = self.header.start, dict(self.header.patient)
        with only_read_errors(self.path, "the reader of time stamps"):
            self._onsets = _record_onsets(self.path, self.header)
        missing = self.duration - self.header.duration
        gaps = (f"discontinuous: {missing:g} s without records are gaps",) if missing > 0 else ()
        self.notes = self.header.notes + gaps
        return list_edf_channels(self.header)

    @property
    def duration(self) -> float:  # type: ignore[override]
        """Seconds from the first sample to the end of the last record."""
        if self._onsets is None:
            return self.header.duration
        return float(self._onsets.max()) + self.header.record_seconds

    def own_scoring(self) -> Scoring:
        """Stages and events among the file's annotations; may be empty."""
        return read_edf_annotations(self.path)

    def _mark(self, settings: tuple[Any, ...]) -> tuple[Any, ...]:
        # as EDF+C was read without regard to its time stamps
        placed = self._onsets is not None and not self.header.discontinuous
        return (*settings, "by time stamps") if placed else settings

    def _check_layout(self) -> None:
        missing = self.duration - self.header.duration
        for layout in self.layout.values():
            check_added_samples(self.path, missing, layout.rate, "its gaps")

    def _open_samples(self, derivations: Sequence[Derivation]) -> Callable[[Derivation], Signal]:
        digital: dict[int, np.ndarray] = {}

        def load(derivations: Sequence[Derivation]) -> None:
            channels = [c for d in derivations for c in (d.channel, d.reference) if c is not None]
            places = sorted({channel.index for channel in channels} - set(digital))
            if places:
                listed = [self.header.signals[i] for i in places]
                digital.update(
                    zip(places, self.header.read_digital(self.path, listed), strict=True)
                )

        def read(derivation: Derivation) -> Signal:
            load([derivation])
            values = self._derive(digital, derivation)
            values.flags.writeable = False
            return Signal(values, derivation.channel.rate, derivation.unit)

        load(derivations)
        return read

    def _derive(self, digital: dict[int, np.ndarray], derivation: Derivation) -> np.ndarray:
        signals, index = self.header.signals, derivation.channel.index
        values = signals[index].to_physical(digital[index])
        if derivation.reference is not None:
            index = derivation.reference.index
            reference = signals[index].to_physical(digital[index])
            if derivation.reference_factor != 1:
                reference *= np.float32(derivation.reference_factor)
            values -= reference
        if self._onsets is None:
            return values
        return self._place_records(values, self._onsets, derivation.channel.rate)

    def _place_records(self, values: np.ndarray, onsets: np.ndarray, rate: float) -> np.ndarray:
        width = round(rate * self.header.record_seconds)
        placed = np.full(round(self.duration * rate), np.nan, dtype=np.float32)
        for onset, record in zip(onsets, values.reshape(-1, width), strict=True):
            first = round(onset * rate)
            part = placed[first : first + width]
            part[:] = record[: len(part)]
        return placed


def list_edf_channels(header: EdfHeader) -> list[Channel]:
    """Channels of a header that hold samples; at 0 Hz if their scale is unusable."""

    def describe(index: int, signal: EdfChannel) -> Channel:
        return Channel(index, signal.label, header.rate_of(signal), signal.dimension)

    return [describe(i, signal) for i, signal in enumerate(header.signals)]


def _record_onsets(path: Path, header: EdfHeader) -> np.ndarray | None:
    """Start of each record in seconds from the first; None if they follow each other."""
    if not header.has_stamps:
        if header.discontinuous:
            raise ReadError(
                f"{path}: marked as discontinuous (EDF+D), but without the annotations that say "
                "when each record starts. Convert it to a continuous EDF."
            )
        return None
    every = np.arange(header.n_records)
    if not header.discontinuous:
        # to read them all is to read most of the file
        some = np.unique(np.linspace(0, every[-1], _N_PROBES).astype(int))
        delays, tolerance = _find_delays(header, header.read_stamps(path, some), some)
        if np.all(np.abs(delays) <= tolerance):
            return None
    if len(every) > _MOST_STAMPS:
        raise ReadError(
            f"{path}: has gaps between {len(every):,} records; accepted are {_MOST_STAMPS:,}. "
            "Split the file by night, or export it with longer records."
        )
    stamps = header.read_stamps(path, every)
    if header.discontinuous and None in stamps:
        raise ReadError(
            f"{path}: record {stamps.index(None) + 1} of a discontinuous file has no start time. "
            "The file is corrupt. Copy it again, or leave it out."
        )
    delays, tolerance = _find_delays(header, stamps, every)
    early = np.flatnonzero(delays < -tolerance)
    if len(early):
        i = int(early[0])
        raise ReadError(
            f"{path}: record {i + 1} starts {-delays[i]:g} s before record {i} ends by their time "
            "stamps; accepted are gaps between records. Export the file again, or split it there."
        )
    if not header.discontinuous:
        delays[delays <= tolerance] = 0
        if not delays.any():
            return None
    onsets = every * header.record_seconds + np.cumsum(delays)
    if not onsets[-1] + header.record_seconds <= LONGEST_SECONDS:
        raise ReadError(
            f"{path}: its last record starts {onsets[-1]:g} s after the first; accepted is up to "
            f"{LONGEST_DAYS} days. Split the file by night."
        )
    return onsets


def _find_delays(
    header: EdfHeader, stamps: Sequence[bytes | None], records: np.ndarray
) -> tuple[np.ndarray, float]:
    """Seconds by which each record is later than the one before says, and what may be jitter.

    A record without a stamp follows the one before. Stamps are rounded, so they differ by less than
    their last digit, and clocks of recorders jitter.
    """
    found = [(i, stamp) for i, stamp in enumerate(stamps) if stamp is not None]
    if not found:
        return np.zeros(len(records)), 0.0
    known = np.array([i for i, _ in found])
    offsets = np.array([float(stamp) for _, stamp in found])
    offsets -= records[known] * header.record_seconds
    before = np.maximum(np.searchsorted(known, np.arange(len(records)), "right") - 1, 0)
    digits = min(len(stamp.partition(b".")[2]) for _, stamp in found)
    jitter = _LONGEST_JITTER * min(1.0, header.record_seconds)
    # to the nanosecond, as differences of decimal fractions are not
    delays = np.round(np.diff(offsets[before], prepend=offsets[0]), 9)
    return delays, max(jitter, 0.999 * 10.0**-digits)
