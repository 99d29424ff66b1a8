# SPDX-License-Identifier: BSD-3-Clause
"""Nights, real and simulated, in the form that the comparison of the simulator works on."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.signal import welch

from sleep2vec_sklearn import datasets as public
from sleep2vec_sklearn import make_sleep_cohort, read_recording
from sleep2vec_sklearn.recordings import EPOCH_SECONDS, Recording, Signal

__all__ = ["NightView", "real_nights", "simulated_nights", "view"]

_EVENT = re.compile(r"^\d\d:\d\d:\d\d\s+(?:HYP|APNEA)-\S+\s+(\d+)\s+([\d.]+)\s+([\d.]+)")
_SPECTRUM_EPOCHS = 40
_NAMES = ("ibi", "actigraphy", "resp", "airflow", "eeg")
EEG_SECONDS = 4


@dataclass(frozen=True)
class NightView:
    """What is compared of one night; None where the set does not have it.

    Attributes
    ----------
    stages : ndarray of shape (n_epochs,) or None
        Scored stages.
    heart : ndarray of shape (n_epochs, samples) or None
        Heart rate in beats per minute, NaN in gaps.
    beat_to_beat : bool
        Whether ``heart`` resolves single beats.
    activity : ndarray of shape (n_epochs,) or None
        Counts.
    breaths : ndarray of shape (n_epochs,) or None
        Breaths per minute.
    spectra : dict of int to ndarray
        Power of the EEG up to 30 Hz by stage, as a share of the power from 0.5 to 30 Hz.
    desaturations : ndarray of shape (n_events, 2) or None
        Duration in s of apneas and hypopneas, and the percentage points lost.
    """

    stages: np.ndarray | None = None
    heart: np.ndarray | None = None
    beat_to_beat: bool = False
    activity: np.ndarray | None = None
    breaths: np.ndarray | None = None
    spectra: dict[int, np.ndarray] = field(default_factory=dict)
    desaturations: np.ndarray | None = None


def view(
    recording: Recording, names=_NAMES, stages: np.ndarray | None = None, *, lossy: bool = False
) -> NightView:
    """Reduce a recording, from its first epoch to its last; its own stages unless given.

    ``lossy`` leaves out 8 s of every 33 s, as MMASH's sensors did.
    """
    have = recording.read([name for name in names if name in recording])
    if lossy:
        have = {name: _with_losses(signal) for name, signal in have.items()}
    n = recording.n_epochs
    if stages is None and recording.stages is not None:
        stages = np.asarray(recording.stages)
    found = {"stages": stages}
    if "ibi" in have:
        found["heart"] = _heart(have["ibi"], n)
        found["beat_to_beat"] = have["ibi"].rate >= 4
    if "actigraphy" in have:
        counts = _epochs(have["actigraphy"], n)
        seen = np.isfinite(counts).mean(axis=1) > 0.3
        found["activity"] = np.where(seen, np.nansum(counts, axis=1), np.nan)
    flow = have.get("resp", have.get("airflow"))
    if flow is not None:
        found["breaths"] = _breaths(_epochs(flow, n), flow.rate)
    if "eeg" in have and stages is not None:
        found["spectra"] = _spectra(_epochs(have["eeg"], n), have["eeg"].rate, stages)
    return NightView(**found)


def _with_losses(signal: Signal) -> Signal:
    times = np.arange(len(signal.values)) / signal.rate
    return replace(signal, values=np.where(times % 33 < 25, signal.values, np.nan))


def _epochs(signal: Signal, n: int) -> np.ndarray:
    size = signal.rate * EPOCH_SECONDS
    values = np.asarray(signal.values, dtype=np.float64)
    if size < 1:
        raise ValueError(f"a rate of {signal.rate} Hz gives no sample in some epochs")
    return values[: n * round(size)].reshape(n, -1)


def _heart(ibi: Signal, n: int) -> np.ndarray:
    values = _epochs(ibi, n)
    return values if ibi.unit == "bpm" else 60 / values


def _breaths(epochs: np.ndarray, rate: float) -> np.ndarray:
    """Frequency of the largest wave between 6 and 27 breaths per minute in each minute."""
    centred = epochs - epochs.mean(axis=1, keepdims=True)
    size = round(120 * rate)
    power = np.abs(np.fft.rfft(centred * np.hanning(epochs.shape[1]), n=size)) ** 2
    frequency = np.fft.rfftfreq(size, 1 / rate) * 60
    inside = (frequency >= 6) & (frequency <= 27)
    fastest = frequency[inside][power[:, inside].argmax(axis=1)]
    return np.where(np.isfinite(centred).all(axis=1) & (centred.std(axis=1) > 0), fastest, np.nan)


def _spectra(epochs: np.ndarray, rate: float, stages: np.ndarray) -> dict[int, np.ndarray]:
    spectra = {}
    whole = np.isfinite(epochs).all(axis=1) & (epochs.std(axis=1) > 0)
    for stage in range(5):
        mine = np.flatnonzero(whole & (stages == stage))
        if len(mine) < 3:
            continue
        mine = mine[np.linspace(0, len(mine) - 1, min(len(mine), _SPECTRUM_EPOCHS)).astype(int)]
        grid, power = welch(epochs[mine], rate, nperseg=round(EEG_SECONDS * rate), axis=1)
        inside = (grid >= 0.5) & (grid <= 30)
        share = power[:, inside] / power[:, inside].sum(axis=1, keepdims=True)
        spectra[stage] = np.median(share, axis=0)
    return spectra


def simulated_nights(n: int, seed: int = 0) -> dict[str, list[NightView]]:
    """Laboratory nights with beats, nights of a watch, and nights of young men with both."""
    options = {"n_sites": 6, "missing": 0.0, "random_state": seed}
    laboratory = make_sleep_cohort(n, site_kinds="laboratory", **options)
    watch = make_sleep_cohort(n, site_kinds="wearable", **options)
    views = []
    for recording in laboratory:
        night = view(recording, ("ibi", "resp", "eeg"))
        views.append(replace(night, desaturations=_desaturations(recording)))
    return {
        "simulated": views,
        "simulated watch": [view(recording) for recording in watch],
        "simulated young": _young_men(n, seed),
    }


def _young_men(n: int, seed: int) -> list[NightView]:
    """People such as MMASH's, without apnea, and without stages, as MMASH has none."""
    cohort = make_sleep_cohort(
        n * 24, hours=6.5, site_kinds="full_laboratory", n_sites=12, missing=0.0, random_state=seed
    )
    chosen = cohort.metadata.query("sex == 'M' and age <= 40 and ahi < 10").index
    views = []
    for name in chosen:
        recording = cohort[cohort.metadata.index.get_loc(name)]
        counts = recording.signal("actigraphy").values
        # A site that smooths its counts does not round them.
        if len(views) < n and np.allclose(counts * 10, np.round(counts * 10), atol=1e-2):
            night = view(recording, ("ibi", "actigraphy"), lossy=True)
            views.append(replace(night, stages=None))
    return views


def _desaturations(recording: Recording) -> np.ndarray:
    """Duration of each event before a marked desaturation, and the fall of the oximeter."""
    saturation = recording.signal("spo2")
    events = recording.events
    breathing = events[events["type"].str.contains("apnea|hypopnea")]
    pairs = []
    for mark in events[events["type"] == "desaturation"].itertuples():
        before = breathing[breathing["onset"] <= mark.onset]
        first, last = (round(t * saturation.rate) for t in (mark.onset, mark.onset + mark.duration))
        fall = saturation.values[first] - saturation.values[first : last + 1].min()
        pairs.append((before["duration"].iloc[-1], fall))
    return np.array(pairs).reshape(-1, 2)


def real_nights(data: Path) -> dict[str, list[NightView]]:
    """The public sets below ``data`` that are there."""
    readers = {
        "sleep-accel": lambda folder: [view(r) for r in public.load_sleep_accel(folder)],
        "slpdb": lambda folder: [view(r) for r in public.load_slpdb(folder)],
        "ucddb_partial": _ucddb,
        "mmash": _mmash,
        "sleep-edfx": _sleep_edf,
        "dreams": lambda folder: [view(r, ("eeg", "airflow")) for r in public.load_dreams(folder)],
    }
    nights = {}
    for name, reader in readers.items():
        if (data / name).is_dir():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                nights[name.split("_")[0]] = reader(data / name)
    return nights


def _ucddb(folder: Path) -> list[NightView]:
    views = []
    for recording in public.load_ucddb(folder):
        path = folder / "annotations" / f"{recording.id}_respevt.txt"
        lines = path.read_text(encoding="latin-1").splitlines() if path.exists() else []
        found = [_EVENT.match(line) for line in lines]
        pairs = [(float(m[1]), float(m[3])) for m in found if m and 40 <= float(m[2]) <= 100]
        desaturations = np.array(pairs).reshape(-1, 2)
        views.append(replace(view(recording), desaturations=desaturations))
    return views


def _mmash(folder: Path) -> list[NightView]:
    """Men in bed; the diary's interval, if the sensors cover it."""
    views = []
    for recording in public.load_mmash(folder):
        if recording.lights is None or not 4 < np.diff(recording.lights)[0] / 3600 < 11:
            continue
        start, stop = (round(edge / EPOCH_SECONDS) for edge in recording.lights)
        whole = view(recording)
        heart, activity = whole.heart[start:stop], whole.activity[start:stop]
        if np.isfinite(heart).mean() > 0.5:
            views.append(NightView(heart=heart, beat_to_beat=True, activity=activity))
    return views


def _sleep_edf(folder: Path) -> list[NightView]:
    """Nights from half an hour before sleep to half an hour after."""
    views = []
    for path in sorted(folder.rglob("*-PSG.edf")):
        recording = read_recording(path)
        asleep = np.flatnonzero(recording.stages > 0)
        epochs = np.arange(recording.n_epochs)
        inside = (epochs >= asleep[0] - 60) & (epochs <= asleep[-1] + 60)
        stages = np.where(inside, recording.stages, -1)
        views.append(view(recording, ("eeg", "airflow"), stages))
    return views
