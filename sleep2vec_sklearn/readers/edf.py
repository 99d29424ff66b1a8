# SPDX-License-Identifier: BSD-3-Clause
"""Lazy sources of EDF, EDF+ and BDF files, at native rates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ReadError
from ..recordings.sources import Signal
from ._edf_header import (
    LONGEST_SECONDS,
    EdfChannel,
    EdfHeader,
    only_read_errors,
    quiet_edfio,
    read_header,
)
from ._montage import Channel, Derivation, MontageSource
from ._scoring import Scoring
from .hypnograms import read_edf_annotations

_N_PROBES = 8
_LONGEST_JITTER = 0.5


class EdfSource(MontageSource):
    """Signals of one EDF, EDF+ or BDF file.

    The header is read at construction, samples later: each :meth:`read` opens the file once and
    takes only the channels it needs, as float32 in physical units. Gaps between records become NaN:
    the time stamps of a discontinuous file (EDF+D) are read at construction; of other EDF+ files,
    which may have gaps as well, eight of them, and all if these do not fit. edfio always reads a
    BDF file whole.

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
        If the file is missing, truncated, corrupt or of another format.
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
        missing = self.duration - self.header.n_records * self.header.record_seconds
        gaps = (f"discontinuous: {missing:g} s without records are gaps",) if missing > 0 else ()
        self.notes = self.header.notes + gaps
        return list_edf_channels(self.header)

    @property
    def duration(self) -> float:  # type: ignore[override]
        """Seconds from the first sample to the end of the last record."""
        if self._onsets is None:
            return self.header.n_records * self.header.record_seconds
        return float(self._onsets.max()) + self.header.record_seconds

    def own_scoring(self) -> Scoring:
        """Stages and events among the file's annotations; may be empty."""
        return read_edf_annotations(self.path)

    def _mark(self, settings: tuple[Any, ...]) -> tuple[Any, ...]:
        # as EDF+C was read without regard to its time stamps
        placed = self._onsets is not None and not self.header.discontinuous
        return (*settings, "by time stamps") if placed else settings

    def _open_samples(self, derivations: Sequence[Derivation]) -> Callable[[Derivation], Signal]:
        file_signals = _open(self.path, self.header)

        def read(derivation: Derivation) -> Signal:
            values = self._derive(file_signals, derivation)
            values.flags.writeable = False
            return Signal(values, derivation.channel.rate, derivation.unit)

        return read

    def _derive(self, signals: Any, derivation: Derivation) -> np.ndarray:
        values = self._physical(signals, derivation.channel.index)
        if derivation.reference is not None:
            reference = self._physical(signals, derivation.reference.index)
            if derivation.reference_factor != 1:
                reference *= np.float32(derivation.reference_factor)
            values -= reference
        if self._onsets is None:
            return values
        return self._place_records(values, self._onsets, derivation.channel.rate)

    def _physical(self, signals: Any, index: int) -> np.ndarray:
        header = self.header.signals[index]
        expected = self.header.n_records * header.samples_per_record
        with only_read_errors(self.path, "edfio"):
            digital = signals[index].digital[:expected] if index < len(signals) else np.empty(0)
        if len(digital) != expected:
            raise ReadError(
                f"{self.path}: {header.label!r} has {len(digital)} samples, its header announced "
                f"{expected} when the recording was opened. The file has changed; read it again "
                "with read_recording."
            )
        values = digital.astype(np.float32)
        (low, high), (least, most) = header.physical, header.digital
        gain = (high - low) / (most - least)
        values *= np.float32(gain)
        values += np.float32(low - least * gain)
        return values

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

    def rate_of(signal: EdfChannel) -> float:
        (low, high), (least, most) = signal.physical, signal.digital
        usable = low != high and least < most
        return signal.samples_per_record / header.record_seconds if usable else 0.0

    signals = enumerate(header.signals)
    return [Channel(i, signal.label, rate_of(signal), signal.dimension) for i, signal in signals]


def _open(path: Path, header: EdfHeader) -> Any:
    """Signals of a file, opened with edfio; they read their samples on access."""
    import edfio

    with only_read_errors(path, "edfio"), quiet_edfio():
        if header.sample_bytes == 3:
            return edfio.read_bdf(path, header_encoding="latin-1").signals
        return edfio.read_edf(path, lazy_load_data=True, header_encoding="latin-1").signals


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
    if onsets[-1] > LONGEST_SECONDS:
        raise ReadError(
            f"{path}: its last record starts {onsets[-1]:g} s after the first; accepted is up to "
            "14 days. Split the file by night."
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
