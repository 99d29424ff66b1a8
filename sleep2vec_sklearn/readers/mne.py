# SPDX-License-Identifier: BSD-3-Clause
"""Lazy sources of every other format, through MNE-Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np

from .._files import sha256
from ..errors import ReadError
from ..recordings._event_names import OTHER, read_event_name
from ..recordings.sources import HIGHEST_RATE, LOWEST_RATE, Signal
from ._boundary import (
    DAY,
    LONGEST_DAYS,
    LONGEST_SECONDS,
    BadFileError,
    check_file,
    only_read_errors,
)
from ._matlab import check_matlab
from ._montage import Channel, Derivation, MontageSource
from ._scoring import Scoring, ScoringBuilder, parse_stage

MNE_SUFFIXES = (".vhdr", ".fif", ".set", ".cnt", ".eeg", ".gdf", ".nxe", ".lay", ".ds")

_VOLTS_CODE = 107
_READER = "MNE-Python"
_SEXES = {1: "M", 2: "F"}
_MOST_DIGITS = 4
# MNE takes 50 s for 16 MB of markers
_MOST_HEADER_BYTES, _MOST_MARKER_BYTES = 1 << 20, 2 << 20


class MneSource(MontageSource):
    """Signals of a file that MNE-Python reads.

    MNE gives every channel of a file the rate of the fastest; spans annotated as bad or as skipped
    become NaN. The header is read at construction, samples later. The recording starts with its
    first sample, ``first_time`` of the file after its ``meas_date``.

    Parameters
    ----------
    path : path-like
        Anything :func:`mne.io.read_raw` takes.
    modalities, channels, units, derivations : optional
        As in :class:`~sleep2vec_sklearn.readers.EdfSource`.

    Raises
    ------
    ImportError
        If MNE-Python is not installed.
    ReadError, NoUsableChannelError
        As from :class:`~sleep2vec_sklearn.readers.EdfSource`.

    Examples
    --------
    >>> import mne
    >>> import numpy as np
    >>> from sleep2vec_sklearn.readers import MneSource
    >>> info = mne.create_info(["EEG C3-A2", "SaO2"], 100.0, ["eeg", "misc"])
    >>> raw = mne.io.RawArray(np.zeros((2, 6000)), info, verbose="error")
    >>> paths = raw.save("night_raw.fif", verbose="error")
    >>> source = MneSource("night_raw.fif")
    >>> list(source.layout), source.duration
    (['eeg', 'spo2'], 60.0)
    """

    _format = "mne"

    def _open_header(self) -> list[Channel]:
        raw = self._raw()
        with only_read_errors(self.path, _READER):
            self._n_samples = len(raw.times)
            rate = float(raw.info["sfreq"])
            if not LOWEST_RATE <= rate <= HIGHEST_RATE:
                raise BadFileError(
                    f"its rate is {rate:g} Hz; accepted are up to {HIGHEST_RATE:,.0f}."
                )
            self.duration = self._n_samples / rate
            if self.duration > LONGEST_SECONDS:
                raise BadFileError(
                    f"it lasts {self.duration / DAY:,.0f} days; accepted are up to {LONGEST_DAYS}."
                )
            files = {self.path, *(Path(name) for name in raw.filenames if name)}
            self.files = tuple(sorted(files))
            measured, self.start = raw.info["meas_date"], None
            if measured is not None:
                self.start = measured.replace(tzinfo=None) + timedelta(seconds=raw.first_time)
            sex = (raw.info["subject_info"] or {}).get("sex")
            self.metadata = {"sex": _SEXES[sex]} if sex in _SEXES else {}
            bad = ", ".join(raw.info["bads"])
            self.notes = (f"channels marked as bad: {bad}",) if bad else ()
            return _channels_of(raw)

    def _open_samples(self, derivations: Sequence[Derivation]) -> Callable[[Derivation], Signal]:
        raw = self._raw()
        samples: dict[int, np.ndarray] = {}

        def load(derivations: Sequence[Derivation]) -> None:
            channels = [c for d in derivations for c in (d.channel, d.reference) if c is not None]
            picks = sorted({channel.index for channel in channels} - set(samples))
            if not picks:
                return
            with only_read_errors(self.path, _READER):
                rows = raw.get_data(picks=picks, reject_by_annotation="NaN", verbose="error")
            if rows.shape[1] != self._n_samples:
                raise ReadError(
                    f"{self.path}: has {rows.shape[1]} samples per channel, {self._n_samples} when "
                    "the recording was opened. The file has changed; read it again with "
                    "read_recording."
                )
            samples.update(zip(picks, rows, strict=True))

        def read(derivation: Derivation) -> Signal:
            load([derivation])
            values = samples[derivation.channel.index].astype(np.float32)
            if derivation.reference is not None:
                reference = samples[derivation.reference.index]
                values -= (reference * derivation.reference_factor).astype(np.float32)
            values.flags.writeable = False
            return Signal(values, derivation.channel.rate, derivation.unit)

        load(derivations)
        return read

    def _raw(self) -> Any:
        return _open(self.path)

    def own_scoring(self) -> Scoring:
        """Stages and events among the file's annotations; may be empty."""
        build = ScoringBuilder()
        raw = self._raw()
        with only_read_errors(self.path, _READER):
            found = raw.annotations
            texts = [_without_kind(str(text)) for text in found.description]
            # BrainVision's marks without a length last for one sample
            lengths = np.where(found.duration * raw.info["sfreq"] > 1.5, found.duration, 0.0)
            columns = ((found.onset - raw.first_time).tolist(), lengths.tolist(), texts)
            # which leaves annotations of no length at its edges
            cropped = raw.first_time > 0 and any(found.duration)
            build.add_annotations([
                (onset, duration or None, text)
                for onset, duration, text in zip(*columns, strict=True)
                if duration or not cropped or parse_stage(text) is None
            ])  # fmt: skip
            return build.build(self.start)


class RawSource(MneSource):
    """Signals of an object of MNE-Python; its fingerprints are those of its samples."""

    def __init__(self, raw: Any, **options: Any):
        self._object = raw
        super().__init__(type(raw).__name__, **options)
        self.files = ()

    def _raw(self) -> Any:
        return self._object

    def fingerprint(self) -> str:
        return sha256(*(self.signal_fingerprint(name) for name in self.layout))

    def signal_fingerprint(self, name: str, derivation: int = 0) -> str:
        signal = self.read_derivation(name, derivation) if derivation else self.read([name])[name]
        return sha256(repr((name, signal.rate, signal.unit)), signal.values.data)


def list_mne_channels(path: Path) -> list[Channel]:
    """Channels of a file that MNE-Python reads."""
    raw = _open(path)
    with only_read_errors(path, _READER):
        return _channels_of(raw)


def _without_kind(text: str) -> str:
    """The text of BrainVision's "kind/text", not that of "Hypopnea w/ arousal" or "Stage 3/4"."""
    kind, _, rest = text.partition("/")
    is_kind = read_event_name(kind).kind in (None, OTHER) and parse_stage(kind) is None
    return rest if rest and is_kind else text


def _channels_of(raw: Any) -> list[Channel]:
    rate, units, bad = float(raw.info["sfreq"]), {_VOLTS_CODE: "V"}, raw.info["bads"]
    return [
        Channel(i, name, 0.0 if name in bad else rate, units.get(int(info["unit"]), ""))
        for i, (name, info) in enumerate(zip(raw.ch_names, raw.info["chs"], strict=True))
    ]


def _check_parts(path: Path) -> None:
    """Refuse pipes and devices among the files of a recording, and headers that are none."""
    if path.is_dir():
        return
    check_file(path)
    if path.suffix.lower() == ".set":
        check_matlab(path)
    names = [f"{path.stem}.fdt", f"{path.stem}.eeg", f"{path.stem}.vmrk", f"{path.stem}.dat"]
    if path.suffix.lower() == ".vhdr":
        check_file(path, _MOST_HEADER_BYTES)
        lines = path.read_bytes().decode("latin-1").splitlines()
        # whichever of them names a file, as MNE is lenient with names and signs
        fields = [re.split("[=:]", line, maxsplit=1) for line in lines]
        names += [field[1].strip().replace("$b", path.stem) for field in fields if field[1:]]
        counts = [f[1].strip() for f in fields if f[0].strip().lower() == "numberofchannels"]
        if any(len(value) > _MOST_DIGITS for value in counts if value):
            raise BadFileError(f"its header announces {counts[0][:20]} channels.")
    for name in names:
        part = path.parent / name
        if _is_other(part):
            check_file(part)
        elif name.lower().endswith(".vmrk") and part.is_file():
            check_file(part, _MOST_MARKER_BYTES)


def _is_other(path: Path) -> bool:
    """Whether there is something of this name, which is no file and no folder."""
    try:
        return path.exists() and not (path.is_file() or path.is_dir())
    except (OSError, ValueError):  # too long for a name, or with a byte of zero
        return False


def _open(path: Path) -> Any:
    try:
        import mne
    except ImportError as error:
        raise ImportError(
            f"{path}: files of this kind are read by MNE-Python, which is not installed. Install "
            "it with: pip install 'sleep2vec-sklearn[mne]', or convert the file to EDF."
        ) from error
    with only_read_errors(path, _READER):
        _check_parts(path)
        return mne.io.read_raw(path, preload=False, verbose="error")
