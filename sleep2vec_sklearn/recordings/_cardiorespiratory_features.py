# SPDX-License-Identifier: BSD-3-Clause
"""Features of an epoch from heart beats, breathing, saturation and activity.

NeuroKit2 computes those of the heart for one window of beats at a time and brings scikit-image,
PyWavelets and matplotlib; here all windows of a night are one array.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import rfft
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from ._resampling import band_filter, blocks, bridge_gaps, decimate
from ._spectral_features import Samples, hann, is_inside, moving_sum, squares
from .derivation import find_r_peaks, ibi_from_ecg, ibi_from_ppg
from .modality import EPOCH_SECONDS

HRV_BANDS = {"vlf": (0.003, 0.04), "lf": (0.04, 0.15), "hf": (0.15, 0.4)}
_CYCLIC_BAND = (0.01, 0.04)
_BEAT_TO_BEAT_RATE = 2.0  # a watch's heart rate is sampled more slowly
_PHASES = 8
_LONGEST_MINUTES = 60.0
# Cole RJ et al. (1992), Sleep 15(5), 461-469: of the minutes from 4 before to 2 after
_COLE_KRIPKE = (404, 598, 326, 441, 1408, 508, 350)


def heart_features(intervals: Samples) -> dict[str, np.ndarray]:
    """Level and variability of RR intervals in s that are sampled evenly.

    Task Force of the ESC and NASPE (1996), Circulation 93(5), 1043-1065; over 30 s, Munoz ML et
    al. (2015), PLoS ONE 10(9), e0138921. Cyclic variation of the
    heart rate with apneas: Guilleminault C et al. (1984), Lancet 323(8369), 126-131.
    """
    bpm = Samples(60 / intervals.values, intervals.rate, intervals.valid).epochs()
    level = bpm.mean(axis=1)
    change = np.abs(np.diff(level, prepend=level[:1]))
    change[1:][~intervals.valid[:-1]] = np.nan
    return {
        "hr": level, "hr_sd": np.log(bpm.std(axis=1) + 0.3), "hr_change": change,
        **_time_domain(intervals), **_hrv_powers(intervals),
    }  # fmt: skip


def _time_domain(intervals: Samples) -> dict[str, np.ndarray]:
    """SDNN, RMSSD and pNN50 of the beats that an even series was made of, over 11 epochs.

    Beats are where the integral of 1/RR is a whole number plus a phase. A series interpolated by
    lines is smoothest halfway between beats, so of eight phases the roughest one is taken. Of a
    series that is too slow for beats, SDNN alone is computed, over its samples.
    """
    n_epochs, values = len(intervals.valid), 1000 * intervals.values.astype(np.float64)
    beat_to_beat = intervals.rate >= _BEAT_TO_BEAT_RATE
    n_phases = _PHASES if beat_to_beat else 1
    before, part = np.arange(len(values))[:, None], np.zeros(1)
    if beat_to_beat:
        before, part = _find_phases(np.cumsum(1000 / (values * intervals.rate)))
    rr = values[before] + part * np.diff(values, append=values[-1:])[before]
    steps = np.diff(rr, axis=0, prepend=rr[:1])
    epoch = ((before + part) / (intervals.rate * EPOCH_SECONDS)).astype(np.int64)
    np.minimum(epoch, n_epochs - 1, out=epoch)
    kept = intervals.valid[epoch]
    # less a middle value, as squares of differences lose no digits
    rr -= 1000.0
    place = (epoch * n_phases + np.arange(n_phases))[kept]
    rr, steps = rr[kept], steps[kept]
    sums = np.stack(
        [
            np.bincount(place, weights, n_epochs * n_phases)
            for weights in (None, rr, rr**2, steps**2, np.abs(steps) > 50)
        ]
    ).reshape(5, n_epochs, n_phases)
    rmssd30 = np.sqrt((sums[3] / np.maximum(sums[0], 1)).max(axis=1))
    sums = np.moveaxis(moving_sum(np.moveaxis(sums, 1, 0), 11), 1, 0)
    mean, square, rough, large = sums[1:] / np.maximum(sums[0], 1)
    roughest = np.arange(n_epochs), rough.argmax(axis=1)
    sdnn = np.sqrt(np.maximum(square - mean**2, 0))[roughest]
    rmssd, pnn50 = np.sqrt(rough[roughest]), large[roughest]
    if not beat_to_beat:
        rmssd30, rmssd, pnn50 = np.full((3, n_epochs), np.nan)
    logs = {"rmssd30": rmssd30, "sdnn": sdnn, "rmssd": rmssd}
    return {name: np.log(values + 1) for name, values in logs.items()} | {"pnn50": pnn50}


def _find_phases(elapsed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where beats elapsed, with lines between samples, are n, n + 1/8 and so on: (n_beats, 8).

    The sample before, and the part of the step to the next.
    """
    n_wanted = _PHASES * max(int(elapsed[-1]) - 2, 0)
    wanted = 1 + np.arange(n_wanted) / _PHASES
    # counted, not searched for
    first = np.clip(np.ceil(_PHASES * (elapsed - 1)), 0, n_wanted).astype(np.int64)
    first[0] = 0
    before = np.repeat(np.arange(len(elapsed)), np.diff(first, append=n_wanted))
    part = (wanted - elapsed[before]) / np.diff(elapsed, append=np.inf)[before]
    return before.reshape(-1, _PHASES), np.maximum(part, 0).reshape(-1, _PHASES)


def _hrv_powers(intervals: Samples) -> dict[str, np.ndarray]:
    """Log powers of bands in the 5 min around each epoch, LF/HF, and the cyclic variation.

    Interpolation by lines multiplies amplitudes by sinc(f RR)^2, which is undone, up to a factor of
    four in power.
    """
    rate = intervals.rate
    frequency, power, mean = power_around(intervals, 300.0, 0.4, without_trend=True)
    power *= 1000**2
    beat_to_beat = rate >= _BEAT_TO_BEAT_RATE
    if beat_to_beat:
        power /= np.maximum(np.sinc(frequency * mean[:, None]) ** 4, 0.25)
    step, columns = frequency[1], {}
    for name, band in HRV_BANDS.items():
        inside = is_inside(frequency, band, rate)
        columns[name] = np.log(power[:, inside].sum(axis=1) * step + 1)
        if not inside.any() or (name == "hf" and not beat_to_beat):
            columns[name] = np.full(len(power), np.nan)
    columns["lf_hf"] = columns["lf"] - columns["hf"]
    total = power[:, frequency >= 0.003].sum(axis=1) + 1e-3
    cyclic = power[:, (frequency >= _CYCLIC_BAND[0]) & (frequency <= _CYCLIC_BAND[1])]
    columns["cyclic"] = cyclic.sum(axis=1) / total
    columns["cyclic_peak"] = cyclic.max(axis=1, initial=0) / total
    return columns


def power_around(
    samples: Samples, seconds: float, fastest: float, *, without_trend: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frequencies up to the ``fastest``, power density within so many seconds, and mean there.

    Around each epoch's middle, mirrored at the night's ends, in a Hann window.
    """
    rate, width = samples.rate, max(round(seconds * samples.rate), 4)
    middle = (np.arange(len(samples.valid)) + 0.5) * EPOCH_SECONDS * rate
    first = (middle - width / 2).astype(np.int64)
    last = len(samples.values) - 1
    index = last - np.abs(last - np.abs(np.arange(first[0], first[-1] + width)))
    values = samples.values[np.clip(index, 0, last)].astype(np.float32)
    windows = sliding_window_view(values, width)
    window = hann(width).astype(np.float32)
    line = np.arange(width, dtype=np.float32) - np.float32((width - 1) / 2)
    frequency = np.fft.rfftfreq(width, 1 / rate).astype(np.float32)
    frequency = frequency[frequency <= fastest]
    power = np.empty((len(first), len(frequency)), np.float32)
    mean = np.empty(len(first), np.float32)
    for block in blocks(len(first), 64):
        part = windows[first[block] - first[0]]
        mean[block] = part.mean(axis=1)
        if without_trend:
            part -= mean[block, None]
            part -= (part @ line / (line @ line))[:, None] * line
        part *= window
        power[block] = squares(rfft(part)[:, : len(frequency)])
    two_sided = (frequency == 0) | (frequency == rate / 2)
    power *= np.where(two_sided, 1, 2).astype(np.float32) / (rate * (window**2).sum())
    return frequency, power, mean


def ecg_features(samples: Samples) -> dict[str, np.ndarray]:
    """The heart by its R waves, their heights, and how much they stand out."""
    values, rate = samples.values, samples.rate
    peaks = find_r_peaks(values, rate)
    columns = heart_features(_as_intervals(*ibi_from_ecg(values, rate, peaks=peaks), samples))
    lag = max(round(0.05 * rate), 1)
    slopes = np.abs(values[lag:] - values[:-lag])
    at = np.clip((peaks * rate).astype(int) - lag, 0, len(slopes) - 1)
    reach = np.arange(-(lag // 2), lag // 2 + 1)
    heights = slopes[np.clip(at[:, None] + reach, 0, len(slopes) - 1)].max(axis=1)
    heights = np.log(heights + 1e-3)
    n_epochs = len(samples.valid)
    epoch = np.minimum((peaks / EPOCH_SECONDS).astype(int), n_epochs - 1)
    n, first, second = (np.bincount(epoch, w, n_epochs) for w in (None, heights, heights**2))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(n >= 5, first / n, np.nan)
        columns["r_sd"] = np.sqrt(np.maximum(second / n - mean**2, 0))
    usual = _medians(Samples(slopes, rate, samples.valid).epochs()[:, ::2])
    columns["noise_db"] = 20 / np.log(10) * (np.log(usual + 1e-3) - mean)
    return columns


def _medians(rows: np.ndarray) -> np.ndarray:
    """``np.median`` of each row of finite numbers, five times as fast."""
    half = rows.shape[1] // 2
    rows = np.partition(rows, half, axis=1)
    upper = rows[:, half]
    return upper if rows.shape[1] % 2 else (upper + rows[:, :half].max(axis=1)) / 2


def ppg_features(samples: Samples) -> dict[str, np.ndarray]:
    """The heart by its pulses, and their size, which falls with vasoconstriction."""
    columns = heart_features(_as_intervals(*ibi_from_ppg(samples.values, samples.rate), samples))
    epochs = samples.epochs()
    width = min(round(1.5 * samples.rate), epochs.shape[1])
    parts = epochs[:, : epochs.shape[1] // width * width].reshape(len(epochs), -1, width)
    size = np.ptp(parts, axis=2).astype(np.float64)
    size = np.log(size + 1e-3 * np.median(size[samples.valid]))
    columns["size"] = size.mean(axis=1)
    columns["size"] -= np.median(columns["size"][samples.valid])
    columns["size_sd"] = size.std(axis=1)
    return columns


def _as_intervals(series: np.ndarray, rate: float, samples: Samples) -> Samples:
    """A series of intervals with gaps bridged, on in epochs half of which have it."""
    known = np.isfinite(series)
    valid = np.zeros(len(samples.valid), dtype=bool)
    if not known.any():
        return Samples(np.ones(max(len(series), 1)), rate, valid)
    on = Samples(known, rate, samples.valid).epochs().mean(axis=1) >= 0.5
    return Samples(bridge_gaps(series, known), rate, samples.valid & on)


def breathing_features(samples: Samples) -> dict[str, np.ndarray]:
    """Rate, regularity and depth of breathing, and its reductions.

    Breaths are the waves of 0.08 to 0.8 Hz between zeros on the way up. Cyclic variation is that
    of periodic breathing (Cheyne-Stokes: 40 to 90 s; AASM manual).
    """
    values, rate, _ = decimate(samples.values, samples.rate, 4.0)
    values = values.astype(np.float32)
    band_filter(values, (0.08, min(0.8, 0.4 * rate)), rate)
    samples = Samples(values, rate, samples.valid)
    tiny, epochs = np.float32(1e-30), samples.epochs()
    size = np.log(epochs.std(axis=1) + tiny)
    width = max(epochs.shape[1] // 6, 1)
    parts = epochs[:, : epochs.shape[1] // width * width].reshape(len(epochs), -1, width)
    # a pause is a tenth of the epoch's size at least, or noise would count
    parts = np.log(parts.std(axis=2) + 0.1 * epochs.std(axis=1, keepdims=True) + tiny)
    frequency, power, _ = power_around(samples, 60.0, 0.6)
    fast = power[:, frequency >= 0.34].sum(axis=1)
    fast /= power[:, frequency >= 0.1].sum(axis=1) + tiny
    band = power[:, (frequency >= 0.1) & (frequency <= 0.5)]
    band = band / (band.sum(axis=1, keepdims=True) + 1e-30)
    level = np.sqrt(
        uniform_filter1d(values.astype(np.float64) ** 2, max(round(10 * rate), 1)).clip(0)
    )
    usual = uniform_filter1d(level, round(300 * rate))
    reduced = Samples(level < 0.5 * usual, rate, samples.valid).epochs().mean(axis=1)
    frequency, power, _ = power_around(
        Samples(level, rate, samples.valid), 300.0, 0.1, without_trend=True
    )
    slow = power[:, frequency >= 0.003].sum(axis=1) + 1e-30
    cyclic = power[:, (frequency >= _CYCLIC_BAND[0]) & (frequency <= _CYCLIC_BAND[1])]
    return {
        **_breaths(samples), "regularity": uniform_filter1d(band, 3, axis=1).max(axis=1) * 3,
        "fast": 10 * np.log10(fast + 1e-4), "depth": size - np.median(size[samples.valid]),
        "depth_sd": parts.std(axis=1), "reduced": reduced, "cyclic": cyclic.sum(axis=1) / slow,
    }  # fmt: skip


def _breaths(samples: Samples) -> dict[str, np.ndarray]:
    """Rate and variability of breaths within 2.5 min, NaN without breaths."""
    values, n_epochs = samples.values, len(samples.valid)
    up = np.flatnonzero((values[:-1] < 0) & (values[1:] >= 0))
    nothing = np.full(n_epochs, np.nan)
    if len(up) < 3:
        return dict.fromkeys(("rate", "rate_cv", "depth_cv"), nothing)
    zeros = up + values[up] / (values[up] - values[up + 1])
    seconds = np.diff(zeros) / samples.rate
    highest, lowest = (f.reduceat(values, up)[:-1] for f in (np.maximum, np.minimum))
    sizes = (highest - lowest).astype(np.float64)
    epoch = np.minimum((zeros[:-1] / samples.rate / EPOCH_SECONDS).astype(int), n_epochs - 1)
    kept = (seconds > 1) & (seconds < 12) & samples.valid[epoch]
    if not kept.any():
        return dict.fromkeys(("rate", "rate_cv", "depth_cv"), nothing)
    sizes /= np.median(sizes[kept])
    kept &= sizes > 0.2

    def over(weights: np.ndarray) -> np.ndarray:
        return moving_sum(np.bincount(epoch[kept], weights[kept], n_epochs), 5)

    n = over(np.ones(len(seconds)))
    n[n < 3] = np.nan
    columns = {}
    for name, x in (("rate", seconds), ("depth", sizes)):
        mean = over(x) / n
        columns[f"{name}_cv"] = np.sqrt(np.maximum(over(x**2) / n - mean**2, 0)) / mean
    columns["rate"] = 60 * n / over(seconds)
    return columns


def spo2_features(samples: Samples) -> dict[str, np.ndarray]:
    """Level of saturation, and desaturations.

    A desaturation begins where the saturation is 3 (4) % below the highest of the two minutes
    before; the ODI is their number an hour (AASM manual; Chung F et al. 2012, Anesth Analg 114(5),
    993-1000).
    """
    values, rate, _ = decimate(samples.values, samples.rate, 1.0)
    values = uniform_filter1d(values.astype(np.float32), max(round(3 * rate), 1), mode="nearest")
    n_epochs = len(samples.valid)
    size = max(round(120 * rate), 1)
    highest = maximum_filter1d(values, size, mode="nearest", origin=(size - 1) // 2)
    drop = highest - values
    epochs = Samples(values, rate, samples.valid).epochs()
    hours = moving_sum(samples.valid.astype(float), 21) * (EPOCH_SECONDS / 3600)
    columns = {}
    for depth in (3, 4):
        # quantised levels differ by whole percents, less rounding
        below = drop >= depth - 0.05
        onsets = np.flatnonzero(below[1:] & ~below[:-1]) / rate / EPOCH_SECONDS
        epoch = np.minimum(onsets.astype(int), n_epochs - 1)
        counts = np.bincount(epoch, samples.valid[epoch], n_epochs)
        columns[f"odi{depth}"] = moving_sum(counts, 21) / np.maximum(hours, EPOCH_SECONDS / 3600)
    return {
        "mean": epochs.mean(axis=1), "low": epochs.min(axis=1), "sd": epochs.std(axis=1),
        "change": epochs[:, -1] - epochs[:, 0], "below90": (epochs < 90).mean(axis=1),
        "drop": Samples(drop, rate, samples.valid).epochs().max(axis=1), **columns,
    }  # fmt: skip


def actigraphy_features(samples: Samples) -> dict[str, np.ndarray]:
    """Activity of each epoch and around it; movements are epochs above the night's mean.

    ``index`` has the weights of Cole and Kripke (1992), but not their threshold, as counts of
    devices differ.
    """
    epochs = samples.epochs()
    counts = epochs.mean(axis=1).astype(np.float64) * EPOCH_SECONDS * samples.rate
    counts[~samples.valid] = 0
    mean = max(counts[samples.valid].mean(), 1e-6)
    weights = np.repeat(_COLE_KRIPKE, 2) / (2 * sum(_COLE_KRIPKE))
    padded = np.pad(counts, (8, 5), mode="edge")
    index = np.correlate(padded, weights, mode="valid")
    per_sample = mean / (EPOCH_SECONDS * samples.rate)
    place = np.arange(len(counts))
    moved = np.flatnonzero(counts > mean)
    before = np.searchsorted(moved, place, side="right") - 1
    bounded = np.concatenate([[-np.inf], moved, [np.inf]])
    since, until = place - bounded[before + 1], bounded[np.searchsorted(moved, place) + 1] - place
    minutes = EPOCH_SECONDS / 60
    return {
        "counts": np.log1p(counts), "scaled": np.log1p(10 * counts / mean),
        "index": np.log1p(10 * index / mean), "active": (epochs > 0.1 * per_sample).mean(axis=1),
        "since": np.log1p(np.minimum(since * minutes, _LONGEST_MINUTES)),
        "until": np.log1p(np.minimum(until * minutes, _LONGEST_MINUTES)),
    }  # fmt: skip
