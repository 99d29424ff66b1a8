# SPDX-License-Identifier: BSD-3-Clause
"""What a night is compared by: bouts, transitions, heart, breathing, movement, spectra."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from scipy.signal import periodogram
from sklearn.metrics import roc_auc_score

from benchmarks.realism_nights import EEG_SECONDS, NightView

__all__ = [
    "STAGES",
    "bouts",
    "effect_sizes",
    "heart_changes",
    "heart_spectrum",
    "measure",
    "transitions",
]

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
            found.update(_heart(night))
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


def _heart(night: NightView) -> dict[str, float]:
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
    """Standardised difference of simulated and real nights, largest first.

    Parameters
    ----------
    measures : DataFrame of shape (n_nights, n_measures)
        Indexed by set and night.
    simulated : dict of str to str
        Real set to the simulated one it is compared with.

    Returns
    -------
    DataFrame
        Columns measure, set, nights, real, simulated, d: the difference of the means over the
        pooled SD of nights. Of a set with fewer than five nights, d is the difference over the
        simulated nights' SD, and its rows come last: one person is not an effect.
    """
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
