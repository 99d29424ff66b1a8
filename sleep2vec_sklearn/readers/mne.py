# SPDX-License-Identifier: BSD-3-Clause
"""Lazy sources of every other format, through MNE-Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from .._files import sha256
from ..errors import ReadError
from ..recordings.sources import Signal, SignalLayout
from ._edf_header import FileSource
from ._montage import Channel, pick_montage
from ._scoring import Scoring, ScoringBuilder, parse_stage

MNE_SUFFIXES = (".vhdr", ".fif", ".set", ".cnt", ".eeg", ".gdf", ".nxe", ".lay", ".ds")

_VOLTS_CODE = 107
_MNE_ERRORS = (OSError, ValueError, RuntimeError, KeyError, IndexError, TypeError)
_SEXES = {1: "M", 2: "F"}


class MneSource(FileSource):
    """Signals of a file that MNE-Python reads.

    MNE gives every channel of a file the rate of the fastest; spans annotated as bad or as skipped
    become NaN. The header is read at construction, samples later.

    Parameters
    ----------
    path : path-like
        Anything :func:`mne.io.read_raw` takes.
    modalities, channels : optional
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

    def __init__(
        self, path: str | PathLike[str], *, modalities: str | Sequence[str] | None = None,
        channels: Mapping[str, Any] | None = None,
    ):  # fmt: skip
        self.path = Path(path)
        raw = self._raw()
        rate = float(raw.info["sfreq"])
        self._n_samples = len(raw.times)
        files = {self.path, *(Path(name) for name in raw.filenames if name)}
        self.files: tuple[Path, ...] = tuple(sorted(files))
        self.montage = pick_montage(
            _channels_of(raw), modalities=modalities, overrides=channels, where=str(self.path)
        )
        bad = ", ".join(raw.info["bads"])
        self.notes = (*self.montage.notes, *([f"channels marked as bad: {bad}"] if bad else []))
        self.duration = self._n_samples / rate
        measured = raw.info["meas_date"]
        first = timedelta(seconds=float(raw.first_time))
        self.start = None if measured is None else (measured + first).replace(tzinfo=None)
        sex = (raw.info["subject_info"] or {}).get("sex")
        self.metadata = {"sex": _SEXES[sex]} if sex in _SEXES else {}

    @property
    def layout(self) -> dict[str, SignalLayout]:
        """Layout of each modality."""
        return {
            name: SignalLayout(d.channel.rate, d.unit, self._n_samples)
            for name, d in self.montage.derivations.items()
        }

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        """Read these modalities in one pass over the file; a ReadError if it has changed."""
        chosen = {name: self.montage.derivations[name] for name in names}
        channels = [c for d in chosen.values() for c in (d.channel, d.reference) if c is not None]
        picks = sorted({channel.index for channel in channels})
        if not picks:
            return {}
        raw = self._raw()
        try:
            samples = raw.get_data(picks=picks, reject_by_annotation="NaN", verbose="error")
        except _MNE_ERRORS as error:
            raise _unreadable(self.path, error) from None
        if samples.shape[1] != self._n_samples:
            raise ReadError(
                f"{self.path}: has {samples.shape[1]} samples per channel, {self._n_samples} when "
                "the recording was opened. The file has changed; read it again with "
                "read_recording."
            )
        signals = {}
        for name, derivation in chosen.items():
            values = samples[picks.index(derivation.channel.index)].astype(np.float32)
            if derivation.reference is not None:
                reference = samples[picks.index(derivation.reference.index)]
                values -= (reference * derivation.reference_factor).astype(np.float32)
            values.flags.writeable = False
            signals[name] = Signal(values, derivation.channel.rate, derivation.unit)
        return signals

    def _raw(self) -> Any:
        return _open(self.path)

    def _settings(self) -> list[tuple[Any, ...]]:
        return self.montage.settings

    def own_scoring(self) -> Scoring:
        """Stages and events among the file's annotations; may be empty."""
        build = ScoringBuilder()
        raw = self._raw()
        # which leaves annotations of no length at its edges
        cropped = raw.first_time > 0 and any(raw.annotations.duration)
        for annotation in raw.annotations:
            onset = float(annotation["onset"]) - raw.first_time * bool(raw.annotations.orig_time)
            text = str(annotation["description"])
            stage = parse_stage(text.rpartition("/")[2], bare=False)
            duration = float(annotation["duration"])
            if stage is None:
                build.add_event(onset, duration, text)
            elif duration or not cropped:
                build.add_stage(onset, duration or 30.0, stage)
        return build.build(self.start)


class RawSource(MneSource):
    """Signals of an object of MNE-Python; its fingerprints are those of its samples."""

    def __init__(
        self, raw: Any, *, modalities: str | Sequence[str] | None = None,
        channels: Mapping[str, Any] | None = None,
    ):  # fmt: skip
        self._object = raw
        super().__init__(type(raw).__name__, modalities=modalities, channels=channels)
        self.files = ()

    def _raw(self) -> Any:
        return self._object

    def fingerprint(self) -> str:
        return sha256(*(self.signal_fingerprint(name) for name in self.layout))

    def signal_fingerprint(self, name: str) -> str:
        signal = self.read([name])[name]
        return sha256(repr((name, signal.rate, signal.unit)), signal.values.data)


def list_mne_channels(path: Path) -> list[Channel]:
    """Channels of a file that MNE-Python reads."""
    return _channels_of(_open(path))


def _channels_of(raw: Any) -> list[Channel]:
    rate, units, bad = float(raw.info["sfreq"]), {_VOLTS_CODE: "V"}, raw.info["bads"]
    return [
        Channel(i, name, 0.0 if name in bad else rate, units.get(int(info["unit"]), ""))
        for i, (name, info) in enumerate(zip(raw.ch_names, raw.info["chs"], strict=True))
    ]


def _open(path: Path) -> Any:
    try:
        import mne
    except ImportError as error:
        raise ImportError(
            f"{path}: files of this kind are read by MNE-Python, which is not installed. Install "
            "it with: pip install 'sleep2vec-sklearn[mne]', or convert the file to EDF."
        ) from error
    try:
        return mne.io.read_raw(path, preload=False, verbose="error")
    except _MNE_ERRORS as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> ReadError:
    # MNE's messages may quote the header, and with it the patient's name
    return ReadError(
        f"{path}: MNE-Python cannot read it ({type(error).__name__}). Check the suffix, or "
        "convert the file to EDF."
    )
