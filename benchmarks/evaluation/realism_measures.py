# SPDX-License-Identifier: BSD-3-Clause
"""What a night is compared by: bouts, transitions, heart, breathing, movement, spectra."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.signal import periodogram, welch
from sklearn.metrics import roc_auc_score

from sleep2vec_sklearn import datasets as public
from sleep2vec_sklearn import make_sleep_cohort, read_recording
from sleep2vec_sklearn.recordings import EPOCH_SECONDS, Recording, Signal

STAGES = ("W", "N1", "N2", "N3", "R")
SCALES = (1, 2, 4, 8, 16, 32, 64)
_BANDS = {"delta": (0.5, 4), "theta": (4, 8), "alpha": (8, 12), "sigma": (12, 15), "beta": (15, 30)}


def measure(night: NightView) -> dict[str, float]:
    """Every measure that the night's signals allow, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        found = _spectral_shares(night)
        if night.stages is not None:
            found.update(_architecture(night.stages))
        if night.heart is not None:
            found.update(_heart_measures(night))
        if night.activity is not None:
            found.update(_activity(night.activity, night.stages))
    if night.breaths is not None and night.stages is not None:
        for stage, name in _present(night.stages):
            found[f"breaths per minute, {name}"] = np.nanmedian(night.breaths[stage])
    if night.desaturations is not None and len(night.desaturations) >= 5:
        length, drop = night.desaturations[night.desaturations[:, 1] >= 3].T
        if len(drop) >= 5:
            found["desaturation: median drop (%)"] = np.median(drop)
            found["desaturation: 90th percentile of drop (%)"] = np.percentile(drop, 90)
            found["desaturation: seconds of the event"] = np.median(length)
    return found


def _present(stages: np.ndarray, least: int = 5):
    masks = [(stages == code, name) for code, name in enumerate(STAGES)]
    return [(mask, name) for mask, name in masks if mask.sum() >= least]


def bouts(stages: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stage and length in minutes of each bout between sleep onset and the last epoch asleep."""
    asleep = np.flatnonzero(stages > 0)
    if not len(asleep):
        return np.empty(0, dtype=np.int8), np.empty(0)
    period = stages[asleep[0] : asleep[-1] + 1]
    first = np.flatnonzero(np.diff(period, prepend=-9))
    return period[first], np.diff(first, append=len(period)) / 2


def transitions(nights: list[NightView]) -> np.ndarray:
    """Chance of each stage to be followed by each other one, given a change: shape (5, 5)."""
    counts = np.zeros((5, 5))
    for night in nights:
        if night.stages is not None:
            which = bouts(night.stages)[0]
            known = (which[1:] >= 0) & (which[:-1] >= 0)
            np.add.at(counts, (which[:-1][known], which[1:][known]), 1)
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _architecture(stages: np.ndarray) -> dict[str, float]:
    known = stages[stages >= 0]
    asleep = np.flatnonzero(known > 0)
    if len(asleep) < 120:
        return {}
    which, minutes = bouts(known)
    hours = minutes.sum() / 60
    found = {
        "minutes awake before sleep": asleep[0] / 2,
        "minutes awake at the end": (len(known) - 1 - asleep[-1]) / 2,
        "minutes awake per hour of the sleep period": minutes[which == 0].sum() / hours,
        "stage changes per hour": (len(which) - 1) / hours,
        "awakenings per hour": (which == 0).sum() / hours,
    }
    for code, name in enumerate(STAGES):
        mine = minutes[which == code]
        if len(mine):
            found[f"minutes of a bout, {name}"] = mine.mean()
            found[f"share of bouts of one epoch, {name}"] = (mine <= 0.5).mean()
        if code:
            found[f"share of sleep, {name}"] = mine.sum() / (len(asleep) / 2)
    pairs = np.stack([which[:-1], which[1:]])
    odd = ((pairs[0] == 3) & np.isin(pairs[1], (1, 4))) | ((pairs[1] == 3) & (pairs[0] != 2))
    found["share of changes into N3 not from N2, or from N3 to N1 or REM"] = odd.mean()
    return found


def heart_changes(night: NightView) -> np.ndarray:
    """Median change of mean heart rate from one window to the next, for windows of SCALES."""
    level = _levels(night)
    changes = []
    with warnings.catch_warnings():
        # A window without a pulse has no mean.
        warnings.simplefilter("ignore", RuntimeWarning)
        for width in SCALES:
            blocks = level[: len(level) // width * width].reshape(-1, width)
            changes.append(np.nanmedian(np.abs(np.diff(np.nanmean(blocks, axis=1)))))
    return np.array(changes)


def heart_spectrum(heart: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies in Hz and median power (bpm2/Hz) of epochs of shape (n_epochs, 120), 4 Hz."""
    whole = heart[np.isfinite(heart).all(axis=1)]
    grid = np.fft.rfftfreq(heart.shape[1], 1 / 4.0)[1:]
    if not len(whole):
        return grid, np.full(len(grid), np.nan)
    _, power = periodogram(whole, 4.0, window="hann", detrend="linear", axis=1)
    return grid, np.median(power[:, 1:], axis=0)


def _levels(night: NightView) -> np.ndarray:
    seen = np.isfinite(night.heart).mean(axis=1) > 0.3
    level = np.full(len(seen), np.nan)
    level[seen] = np.nanmean(night.heart[seen], axis=1)
    return level


def _heart_measures(night: NightView) -> dict[str, float]:
    level = _levels(night)
    if np.isfinite(level).mean() < 0.5:
        return {}
    above = level - np.nanmedian(level)
    inside = np.where(np.isfinite(level), np.nanstd(night.heart, axis=1), np.nan)
    around = pd.Series(level).rolling(11, center=True, min_periods=6).std().to_numpy()
    kind = "beats" if night.beat_to_beat else "watch"
    found = {
        f"{kind}: 98th percentile above the median (bpm)": np.nanpercentile(above, 98),
        f"{kind}: 2nd percentile above the median (bpm)": np.nanpercentile(above, 2),
        f"{kind}: SD inside an epoch, median (bpm)": np.nanmedian(inside),
        f"{kind}: SD inside an epoch, 90th percentile (bpm)": np.nanpercentile(inside, 90),
    }
    for width, change in zip(SCALES, heart_changes(night), strict=True):
        found[f"{kind}: change between windows of {width / 2:g} min (bpm)"] = change
    if night.stages is not None:
        for mask, name in _present(night.stages):
            found[f"{kind}: level above the night's median, {name} (bpm)"] = np.nanmedian(
                above[mask]
            )
            found[f"{kind}: SD over 5.5 min, {name} (bpm)"] = np.nanmedian(around[mask])
            if night.beat_to_beat:
                grid, power = heart_spectrum(night.heart[mask])
                for band, (low, high) in {"LF": (0.04, 0.15), "HF": (0.15, 0.4)}.items():
                    size = power[(grid >= low) & (grid < high)].mean()
                    found[f"{kind}: log10 {band} power, {name}"] = np.log10(size)
    if night.activity is not None:
        both = np.isfinite(level) & np.isfinite(night.activity)
        moving = night.activity[both] > 1e-3 * np.nanmax(night.activity)
        found["correlation of heart rate and moving"] = np.corrcoef(level[both], moving)[0, 1]
    return found


def _activity(activity: np.ndarray, stages: np.ndarray | None) -> dict[str, float]:
    seen = np.isfinite(activity)
    if seen.mean() < 0.5:
        return {}
    moving = np.where(seen, activity > 1e-3 * np.nanmax(activity), np.nan)
    if stages is None:
        gaps = np.diff(np.flatnonzero(moving == 1))
        loud = activity[moving == 1]
        return {
            "in bed: share of epochs with movement": np.nanmean(moving),
            "in bed: 90th percentile of still minutes": np.percentile(gaps[gaps > 1] - 1, 90) / 2,
            "in bed: log of median over 95th percentile of counts": np.log(
                np.median(loud) / np.percentile(loud, 95)
            ),
        }
    found = {
        f"share of epochs with movement, {name}": np.nanmean(moving[mask])
        for mask, name in _present(stages)
    }
    scored = seen & (stages >= 0)
    awake = stages[scored] == 0
    if 5 <= awake.sum() < len(awake):
        smooth = pd.Series(activity).rolling(7, center=True, min_periods=1).mean().to_numpy()
        found["AUC of activity over 3.5 min for wake"] = roc_auc_score(awake, smooth[scored])
        limit = np.quantile(smooth[scored][~awake], 0.95)
        found["share of wake found when 95 % of sleep is"] = (smooth[scored][awake] > limit).mean()
    return found


def _spectral_shares(night: NightView) -> dict[str, float]:
    found = {}
    for stage, power in night.spectra.items():
        grid = 0.5 + np.arange(len(power)) / EEG_SECONDS
        for band, (low, high) in _BANDS.items():
            share = power[(grid >= low) & (grid < high)].sum() / power.sum()
            found[f"EEG log10 share of {band}, {STAGES[stage]}"] = np.log10(share)
    return found


def effect_sizes(measures: pd.DataFrame, simulated: dict[str, str]) -> pd.DataFrame:
    """Standardised difference of simulated and real nights, largest first."""
    rows = []
    for real, partner in simulated.items():
        if real not in measures.index.get_level_values(0):
            continue
        for name in measures.columns:
            a, b = measures.loc[real, name].dropna(), measures.loc[partner, name].dropna()
            if not len(a) or len(b) < 5:
                continue
            spread = np.sqrt((a.var() + b.var()) / 2) if len(a) >= 5 else b.std()
            d = (b.mean() - a.mean()) / spread if spread > 0 else np.nan
            rows.append((name, real, len(a), a.mean(), b.mean(), d))
    table = pd.DataFrame(rows, columns=["measure", "set", "nights", "real", "simulated", "d"])
    table["many"], table["size"] = table["nights"] >= 5, table["d"].abs()
    table = table.sort_values(["many", "size"], ascending=False, ignore_index=True)
    return table.drop(columns=["many", "size"])


_EVENT = re.compile(r"^\d\d:\d\d:\d\d\s+(?:HYP|APNEA)-\S+\s+(\d+)\s+([\d.]+)\s+([\d.]+)")
_SPECTRUM_EPOCHS = 40
_NAMES = ("ibi", "actigraphy", "resp", "airflow", "eeg")
EEG_SECONDS = 4


@dataclass(frozen=True)
class NightView:
    """What is compared of one night; None where the set does not have it."""

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
        "ucddb_partial": _ucddb, "mmash": _mmash, "sleep-edfx": _sleep_edf,
        "dreams": lambda folder: [view(r, ("eeg", "airflow")) for r in public.load_dreams(folder)],
    }  # fmt: skip
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
