# SPDX-License-Identifier: BSD-3-Clause
"""Lazy sources of EDF, EDF+ and BDF files, at native rates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import ReadError
from ..recordings.sources import Signal, SignalLayout
from ._edf_header import EdfChannel, EdfHeader, FileSource, quiet_edfio, read_header
from ._montage import Channel, Derivation, pick_montage
from ._scoring import Scoring
from .hypnograms import read_edf_annotations

_LONGEST_SECONDS = 14 * 86400.0


class EdfSource(FileSource):
    """Signals of one EDF, EDF+ or BDF file.

    The header is read at construction, samples later: each :meth:`read` opens the file once and
    takes only the channels it needs, as float32 in physical units. Gaps of a discontinuous file
    (EDF+D) become NaN; the times of its records are read at construction. edfio always reads a BDF
    file whole.

    Parameters
    ----------
    path : path-like
        The file.
    modalities : sequence of str, optional
        Only these.
    channels : mapping, optional
        Modality to label, (label, reference label), or None to leave it out; overrides the choice
        by labels.

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

    def __init__(
        self, path: str | PathLike[str], *, modalities: str | Sequence[str] | None = None,
        channels: Mapping[str, Any] | None = None,
    ):  # fmt: skip
        self.path = Path(path)
        self.files: tuple[Path, ...] = (self.path,)
        self.header = read_header(self.path)
        self.start: datetime | None = self.header.start
        self.metadata: dict[str, Any] = dict(self.header.patient)
        listed, where = list_edf_channels(self.header), str(self.path)
        self.montage = pick_montage(listed, modalities=modalities, overrides=channels, where=where)
        self._onsets = _record_onsets(self.path, self.header)
        missing = self.duration - self.header.n_records * self.header.record_seconds
        gaps = (f"discontinuous: {missing:g} s without records are gaps",) if missing > 0 else ()
        self.notes = self.header.notes + gaps + self.montage.notes

    @property
    def duration(self) -> float:
        """Seconds from the first sample to the end of the last record."""
        if self._onsets is None:
            return self.header.n_records * self.header.record_seconds
        return float(self._onsets.max()) + self.header.record_seconds

    def own_scoring(self) -> Scoring:
        """Stages and events among the file's annotations; may be empty."""
        return read_edf_annotations(self.path)

    @property
    def layout(self) -> dict[str, SignalLayout]:
        """Layout of each modality, from the header alone."""
        return {
            name: SignalLayout(d.channel.rate, d.unit, round(self.duration * d.channel.rate))
            for name, d in self.montage.derivations.items()
        }

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        """Read these modalities, opening the file once; a ReadError if it has changed."""
        file_signals = _open(self.path, self.header)
        signals = {}
        for name in names:
            derivation = self.montage.derivations[name]
            values = self._derive(file_signals, derivation)
            values.flags.writeable = False
            signals[name] = Signal(values, derivation.channel.rate, derivation.unit)
        return signals

    def _settings(self) -> list[tuple[Any, ...]]:
        return self.montage.settings

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

    # edfio's messages may quote the header, and with it the patient's name
    try:
        with quiet_edfio():
            if header.sample_bytes == 3:
                return edfio.read_bdf(path, header_encoding="latin-1").signals
            return edfio.read_edf(path, lazy_load_data=True, header_encoding="latin-1").signals
    except (OSError, ValueError) as error:
        raise ReadError(
            f"{path}: edfio cannot read it ({type(error).__name__}). Copy it again, or convert it "
            "with another tool."
        ) from None


def _record_onsets(path: Path, header: EdfHeader) -> np.ndarray | None:
    """Start of each record of a discontinuous file, in seconds from the first."""
    if not header.discontinuous:
        return None
    sizes = [channel.samples_per_record * header.sample_bytes for channel in header.channels]
    timekeeping = next((i for i, c in enumerate(header.channels) if c.is_annotation), None)
    if timekeeping is None:
        raise ReadError(
            f"{path}: marked as discontinuous (EDF+D), but without the annotations that say when "
            "each record starts. Convert it to a continuous EDF."
        )
    first = sum(sizes[:timekeeping])
    records = np.memmap(path, np.uint8, "r", header.data_offset, (header.n_records, sum(sizes)))
    onsets = np.empty(header.n_records)
    for i, record in enumerate(records[:, first : first + sizes[timekeeping]]):
        stamp = re.match(rb"[+-]\d+(?:\.\d+)?", record.tobytes())
        if stamp is None:
            raise ReadError(
                f"{path}: record {i + 1} of a discontinuous file has no start time. The file is "
                "corrupt. Copy it again, or leave it out."
            )
        onsets[i] = float(stamp[0])
    onsets -= onsets[0]
    if onsets.min() < 0 or onsets.max() > _LONGEST_SECONDS:
        raise ReadError(
            f"{path}: its records start between {onsets.min():g} and {onsets.max():g} s of the "
            "first; accepted is up to 14 days. Split the file by night."
        )
    return onsets
