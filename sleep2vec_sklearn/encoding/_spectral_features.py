# SPDX-License-Identifier: BSD-3-Clause
"""Features of an epoch from EEG, EOG and chin EMG.

YASA and antropy compute most of these for one epoch or channel at a time with numba, pandas and
MNE; here a night of 8 h takes some 0.3 s a sensor, with scipy alone. Amplitudes are in uV, powers
in dB, so that an amplifier's gain is a shift, which the columns relative to the night leave out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft
from scipy.ndimage import uniform_filter1d
from scipy.signal import welch

from ..recordings._resampling import decimate
from ..recordings.modality import EPOCH_SECONDS


@dataclass(frozen=True, slots=True)
class Feature:
    """One number of an epoch, and the columns made of it over the epochs around.

    ``contexts`` holds, separated by spaces: ``rel``, the number minus its median over the night;
    ``m11`` and ``s11``, mean and SD of that over 11 epochs; ``b10`` and ``a10``, its mean over
    three epochs 10 epochs before and after.
    """

    name: str
    meaning: str
    unit: str
    typical: float  # round median over simulated and public nights, of counts the mean
    contexts: str = ""


@dataclass(frozen=True, slots=True)
class Samples:
    """A sensor's samples of a night, without gaps, and in which epochs it is on."""

    values: np.ndarray  # float [n_samples]
    rate: float
    valid: np.ndarray  # bool [n_epochs]

    def epochs(self) -> np.ndarray:
        """Of shape (n_epochs, samples of an epoch); the last value is held after the end."""
        n_epochs, width = len(self.valid), max(round(EPOCH_SECONDS * self.rate), 1)
        if width == EPOCH_SECONDS * self.rate and len(self.values) >= n_epochs * width:
            return self.values[: n_epochs * width].reshape(n_epochs, width)
        first = (np.arange(n_epochs) * EPOCH_SECONDS * self.rate + 1e-6).astype(np.int64)
        index = first[:, None] + np.arange(width)
        return self.values[np.minimum(index, len(self.values) - 1, out=index)]


# fmt: off
EEG_BANDS = {
    "so": (0.5, 1.0), "delta": (1.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 12.0),
    "sigma": (12.0, 16.0), "beta": (16.0, 30.0), "gamma": (30.0, 45.0),
}
EOG_BANDS = {"slow": (0.5, 2.0), "delta": (2.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 12.0),
             "sigma": (12.0, 16.0), "beta": (16.0, 30.0)}
EMG_BANDS = {"low": (10.0, 20.0), "mid": (20.0, 35.0), "high": (35.0, 60.0)}
EMG_FEATURES = (
    Feature("rms_db", "RMS 10 to 60 Hz, median of seconds", "dB re 1 uV", 10, "rel m3 m11 m41 s11"),
    Feature("tonic_db", "RMS, 10th percentile over seconds", "dB re 1 uV", 8, "rel m3 m11 m41"),
    Feature("phasic_db", "RMS, 90th over 50th percentile", "dB", 2.5, "rel m11"),
    Feature("peak_db", "RMS of the largest second", "dB re 1 uV", 15, "rel m3 m11 m41 s11"),
    Feature("atonia", "share of seconds below twice the night's lowest tone", "1", 0.4, "rel m11"),
    Feature("low_db", "power 10 to 20 Hz over 10 to 60 Hz", "dB", -8, "rel"),
    Feature("high_db", "power 35 to 60 Hz over 10 to 60 Hz", "dB", -3, "rel"),
)
# fmt: on
_POWER_FLOOR = 1e-3  # uV2, a tenth of what the best amplifiers add in a band
_SLOPE_BANDS = ((2.0, 7.0), (16.0, 24.0))


def emg_features(samples: Samples) -> dict[str, np.ndarray]:
    """Tone of the chin, second by second.

    ``atonia`` counts seconds as the atonia index does (Ferri R et al. 2008, Sleep 31(12),
    1631-1642), here relative to the night's own lowest tone (5th percentile), as gains differ.
    """
    # faster than the bands ask for, as what is above them would fold into them
    samples, gain = _decimated(samples, 200.0)
    epochs = samples.epochs()
    width = min(max(round(samples.rate), 2), epochs.shape[1])
    n_parts = epochs.shape[1] // width
    parts = epochs[:, : n_parts * width].reshape(len(epochs), n_parts, width)
    window = np.hanning(width + 1)[:width].astype(np.float32)
    # the mean of a second is far below the bands
    spectra = rfft((parts - parts.mean(axis=2, keepdims=True)) * window, axis=2)
    power = spectra.real**2 + spectra.imag**2
    frequency = np.fft.rfftfreq(width, 1 / samples.rate).astype(np.float32)
    power *= 2 / (width * (window**2).sum() * gain(frequency) ** 2)
    bands = {
        name: power[..., is_inside(frequency, band, samples.rate)].sum(axis=2)
        for name, band in EMG_BANDS.items()
    }
    second = sum(bands.values()) + _POWER_FLOOR
    level = 10 * np.log10(second)
    low, median, high = np.percentile(level, [10, 50, 90], axis=1)
    lowest = np.percentile(level[samples.valid], 5)
    total = second.mean(axis=1)
    shares = {
        f"{name}_db": 10 * np.log10((bands[name].mean(axis=1) + _POWER_FLOOR) / total)
        for name in ("low", "high")
    }
    if not is_inside(frequency, EMG_BANDS["high"], samples.rate).any():
        shares = dict.fromkeys(shares, np.full(len(level), np.nan))
    return {
        "rms_db": median, "tonic_db": low, "phasic_db": high - median, "peak_db": level.max(axis=1),
        "atonia": (level < lowest + 20 * np.log10(2)).mean(axis=1), **shares,
    }  # fmt: skip


# fmt: off
EEG_FEATURES = (
    Feature("so_db", "power 0.5 to 1 Hz", "dB re 1 uV2", 17, "rel"),
    Feature("delta_db", "power 1 to 4 Hz", "dB re 1 uV2", 21, "rel m3 m11 m41 s11"),
    Feature("theta_db", "power 4 to 8 Hz", "dB re 1 uV2", 14, "rel m3"),
    Feature("alpha_db", "power 8 to 12 Hz", "dB re 1 uV2", 10, "rel m3 m11"),
    Feature("sigma_db", "power 12 to 16 Hz", "dB re 1 uV2", 7.5, "rel m3 m11 m41"),
    Feature("beta_db", "power 16 to 30 Hz", "dB re 1 uV2", 5, "rel m3 m11 m41 s11"),
    Feature("gamma_db", "power 30 to 45 Hz", "dB re 1 uV2", 0, "rel"),
    Feature("so", "power 0.5 to 1 Hz over 0.5 to 30 Hz", "1", 0.22),
    Feature("delta", "power 1 to 4 Hz over 0.5 to 30 Hz", "1", 0.5),
    Feature("theta", "power 4 to 8 Hz over 0.5 to 30 Hz", "1", 0.12),
    Feature("alpha", "power 8 to 12 Hz over 0.5 to 30 Hz", "1", 0.05),
    Feature("sigma", "power 12 to 16 Hz over 0.5 to 30 Hz", "1", 0.03),
    Feature("beta", "power 16 to 30 Hz over 0.5 to 30 Hz", "1", 0.02),
    Feature("delta_beta", "power 0.5 to 4 Hz over 16 to 30 Hz", "dB", 16, "rel"),
    Feature("theta_alpha", "power 4 to 8 Hz over 8 to 12 Hz", "dB", 4.5, "rel m3"),
    Feature("slope", "exponent of the aperiodic spectrum", "1", 2.2, "rel m3 m11"),
    Feature("edge", "frequency below which 95 % of 0.5 to 30 Hz lie", "Hz", 12, "rel"),
    Feature("entropy", "spectral entropy of 0.5 to 30 Hz over its largest", "1", 0.65, "rel"),
    Feature("permutation", "permutation entropy of order 3 over its largest", "1", 0.9, "rel"),
    Feature("mobility", "Hjorth mobility of 0.5 to 30 Hz", "1/s", 30, "rel m11"),
    Feature("complexity", "Hjorth complexity of 0.5 to 30 Hz", "1", 2.6),
    Feature("spindles", "sleep spindles", "1/min", 0.6, "m3 m11"),
    Feature("slow_waves", "slow waves", "1/min", 2, "m3 m11 m41"),
)
EOG_FEATURES = (
    Feature("slow_db", "power 0.5 to 2 Hz", "dB re 1 uV2", 20, "rel m3 m11"),
    Feature("delta_db", "power 2 to 4 Hz", "dB re 1 uV2", 12, "rel m3 m11 m41 s11"),
    Feature("theta_db", "power 4 to 8 Hz", "dB re 1 uV2", 10, "rel m3"),
    Feature("alpha_db", "power 8 to 12 Hz", "dB re 1 uV2", 6, "rel m11"),
    Feature("sigma_db", "power 12 to 16 Hz", "dB re 1 uV2", 4, "rel m3 m11"),
    Feature("beta_db", "power 16 to 30 Hz", "dB re 1 uV2", 4, "rel m3 m11 m41 s11"),
    Feature("slow", "power 0.5 to 2 Hz over 0.5 to 30 Hz", "1", 0.7),
    Feature("entropy", "spectral entropy of 0.5 to 30 Hz over its largest", "1", 0.55, "rel"),
    Feature("mobility", "Hjorth mobility of 0.5 to 30 Hz", "1/s", 28, "rel"),
    Feature("rapid", "rapid eye movements", "1/min", 3, "rel m3 m11 m41"),
    Feature("rolling", "share of time in slow eye movements", "1", 0.1, "m3 m11"),
)
# fmt: on


def eeg_features(samples: Samples) -> dict[str, np.ndarray]:
    """Spectrum, aperiodic slope, Hjorth, entropies, spindles and slow waves."""
    columns, frequency, power = _band_features(samples, EEG_BANDS)
    slow = power @ band_weights(frequency, (0.5, 4.0))
    columns["delta_beta"] = _decibels(slow) - columns["beta_db"]
    columns["theta_alpha"] = columns["theta_db"] - columns["alpha_db"]
    columns["slope"] = aperiodic_exponent(frequency, power)
    waves = Waves.of(samples)
    broad = waves.band(0.5, 30.0, 64.0)
    epochs = broad.epochs()
    columns["mobility"], columns["complexity"] = hjorth(epochs, broad.rate)
    columns["permutation"] = permutation_entropy(epochs)
    columns["spindles"] = _per_minute(find_spindles(waves, broad), samples)
    columns["slow_waves"] = _per_minute(find_slow_waves(waves), samples)
    return columns


def eog_features(samples: Samples) -> dict[str, np.ndarray]:
    """Spectrum, and rapid and slow eye movements."""
    columns, _, _ = _band_features(samples, EOG_BANDS)
    waves = Waves.of(samples)
    broad = waves.band(0.5, 30.0, 64.0)
    columns["mobility"], _ = hjorth(broad.epochs(), broad.rate)
    columns["rapid"] = _per_minute(find_rapid_movements(waves), samples)
    columns["rolling"] = share_of_slow_movements(waves)
    return columns


def _band_features(
    samples: Samples, bands: Mapping[str, tuple[float, float]]
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Powers and shares of bands, edge and entropy; frequencies and power density.

    Welch's method, Hann windows of 4 s that overlap by half. Spectral entropy: Inouye T et al.
    (1991), Electroencephalogr Clin Neurophysiol 79(3), 204-210.
    """
    frequency, power = power_density(samples)
    used = (frequency >= 0.5) & (frequency < min(30.0, 0.45 * samples.rate))
    whole = power @ band_weights(frequency, (0.5, min(30.0, 0.45 * samples.rate))) + _POWER_FLOOR
    columns = {}
    for name, band in bands.items():
        columns[f"{name}_db"] = columns[name] = np.full(len(power), np.nan)
        if is_inside(frequency, band, samples.rate).any():
            found = power @ band_weights(frequency, (band[0], min(band[1], 0.45 * samples.rate)))
            columns[f"{name}_db"], columns[name] = _decibels(found), found / whole
    share = power[:, used] + _POWER_FLOOR / used.sum()
    share /= share.sum(axis=1, keepdims=True)
    edge = (np.cumsum(share, axis=1) < 0.95).sum(axis=1)
    columns["edge"] = frequency[used][np.minimum(edge, used.sum() - 1)]
    columns["entropy"] = -(share * np.log(share)).sum(axis=1) / np.log(used.sum())
    return columns, frequency, power


def power_density(samples: Samples, seconds: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies, and the power density of each epoch by Welch's method (uV2/Hz)."""
    fewer, gain = _decimated(samples, 100.0)
    epochs = fewer.epochs()
    width = min(round(seconds * fewer.rate), epochs.shape[1])
    blocks = [
        welch(block, fewer.rate, "hann", width, axis=1)[1]
        for block in np.array_split(epochs, max(len(epochs) // 200, 1))
    ]
    frequency = np.fft.rfftfreq(width, 1 / fewer.rate)
    return frequency, np.concatenate(blocks) / gain(frequency) ** 2


def _decimated(
    samples: Samples, min_rate: float
) -> tuple[Samples, Callable[[np.ndarray], np.ndarray]]:
    """Means of neighbouring samples, and the gain of that by frequency."""
    values, rate, _ = decimate(samples.values, samples.rate, min_rate)
    n = round(samples.rate / rate)

    def gain(frequency: np.ndarray) -> np.ndarray:
        return np.sinc(n * frequency / samples.rate) / np.sinc(frequency / samples.rate)

    return Samples(values, rate, samples.valid), gain


def band_weights(frequency: np.ndarray, band: tuple[float, float]) -> np.ndarray:
    """Weights of powers whose sum is the integral over a band by the trapezoidal rule."""
    step = frequency[1]
    return step * np.clip(
        np.minimum(frequency - band[0], band[1] - frequency) / step + 0.5, 0, 1, dtype=np.float32
    )


def _decibels(power: np.ndarray) -> np.ndarray:
    return 10 * np.log10(power + _POWER_FLOOR)


def is_inside(frequency: np.ndarray, band: tuple[float, float], rate: float) -> np.ndarray:
    """Which frequencies are of a band; none if most of it is too fast for the rate."""
    low, high = band
    top = min(high, 0.45 * rate)
    inside = (frequency >= low) & (frequency < top)
    return inside if top - low >= 0.4 * (high - low) else np.zeros_like(inside)


def aperiodic_exponent(frequency: np.ndarray, power: np.ndarray) -> np.ndarray:
    """Exponent of 1/f: minus the slope of log power on log frequency by least squares.

    From 2 to 7 and 16 to 24 Hz, which leaves out slow waves and the peaks of alpha and sigma.
    Donoghue T et al. (2020), Nat Neurosci 23, 1655-1665; of sleep, Lendner JD et al. (2020),
    eLife 9, e55092.
    """
    used = np.zeros(len(frequency), dtype=bool)
    for low, high in _SLOPE_BANDS:
        used |= (frequency >= low) & (frequency <= high)
    x = np.log10(frequency[used])
    x -= x.mean()
    y = np.log10(power[:, used] + _POWER_FLOOR / 30)
    return -(y @ x) / (x @ x)


def hjorth(epochs: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Mobility in 1/s and complexity.

    Hjorth B (1970), Electroencephalogr Clin Neurophysiol 29(3), 306-310.
    """
    first = np.diff(epochs, axis=1)
    second = np.diff(first, axis=1)
    tiny = np.float32(1e-6)
    spread, of_first, of_second = (part.std(axis=1) + tiny for part in (epochs, first, second))
    mobility = of_first / spread
    return mobility * rate, of_second / of_first / mobility


def permutation_entropy(epochs: np.ndarray) -> np.ndarray:
    """Of order 3 and delay 1, over its largest value: 1 is noise, 0 a ramp.

    Bandt C, Pompe B (2002), Phys Rev Lett 88, 174102.
    """
    first, second, third = epochs[:, :-2], epochs[:, 1:-1], epochs[:, 2:]
    # of the eight outcomes of three comparisons, six are orders
    code = (first < second).astype(np.int64)
    code += 2 * (second < third)
    code += 4 * (first < third)
    code += 8 * np.arange(len(epochs))[:, None]
    counts = np.bincount(code.ravel(), minlength=8 * len(epochs)).reshape(-1, 8)
    share = counts / max(first.shape[1], 1)
    return -(share * np.log(np.where(share > 0, share, 1))).sum(axis=1) / np.log(6)


@dataclass(frozen=True, slots=True)
class Waves:
    """The spectrum of a whole night, from which bands are cut: one transform for all of them."""

    spectrum: np.ndarray
    n: int
    rate: float
    valid: np.ndarray

    @classmethod
    def of(cls, samples: Samples) -> Waves:
        """Of samples, decimated to 100 Hz or more."""
        fewer, _ = _decimated(samples, 100.0)
        # zeros follow, so that the end of the night does not leak into its start
        n = next_fast_len(len(fewer.values) + round(4 * fewer.rate), real=True)
        return cls(rfft(fewer.values - fewer.values.mean(), n), n, fewer.rate, samples.valid)

    def band(self, low: float, high: float, rate: float) -> Samples:
        """The waves of a band at about ``rate``, by a filter without phase."""
        size = next_fast_len(round(self.n * rate / self.rate), real=True)
        bins = self._weighted(low, high)[: size // 2 + 1]
        values = irfft(bins, size) * np.float32(size / self.n)
        return Samples(values, self.rate * size / self.n, self.valid)

    def _weighted(self, low: float, high: float) -> np.ndarray:
        """The spectrum up to a band's end; half the amplitude at its corners."""
        step = self.rate / self.n
        high = min(high, 0.45 * self.rate)
        bins = self.spectrum[: int(1.15 * high / step)].copy()
        for corner, rises in ((low, True), (high, False)):
            # narrower edges ring longer
            half = np.clip(0.15 * corner, 0.1, 0.75)
            first, last = int((corner - half) / step), int((corner + half) / step)
            ramp = np.sin(np.linspace(0, np.pi / 2, last - first, dtype=np.float32)) ** 2
            bins[first:last] *= (ramp if rises else ramp[::-1])[: len(bins) - first]
            bins[slice(first) if rises else slice(last, None)] = 0
        return bins


def find_spindles(waves: Waves, broad: Samples) -> np.ndarray:
    """Middles of sleep spindles in s; ``broad`` is 0.5 to 30 Hz at 64 Hz.

    After Lacourse K et al. (2019), J Neurosci Methods 316, 3-11, with the thresholds of YASA
    (Vallat R, Walker MP 2021, eLife 10, e70092): sigma (12-15 Hz) is a fifth of the power of 0.5
    to 30 Hz over 1 s (of the 2 s of a Hann window, what weighs), correlates with the whole by .65
    over 0.3 s, and its RMS over 0.3 s is 1.5 trimmed SD above the night's mean, or 10 uV; for 0.5
    to 2 s, less than 0.5 s apart being one.
    """
    # whole from 12 to 15 Hz
    sigma = waves.band(11.25, 15.75, 64.0)
    x, y, rate = sigma.values, broad.values, sigma.rate

    def over(seconds: float, values: np.ndarray) -> np.ndarray:
        return uniform_filter1d(values, round(seconds * rate), mode="constant")

    power, whole = x * x, y * y
    level = over(1.0, power) > 0.2 * over(1.0, whole)
    whole = over(0.3, whole) - over(0.3, y) ** 2
    common = over(0.3, x * y)
    power = over(0.3, power)
    # means of sigma over 0.3 s are next to nothing
    alike = (common > 0) & (common**2 > 0.65**2 * power * whole)
    rms = np.sqrt(power)
    on = np.repeat(waves.valid, round(EPOCH_SECONDS * rate))[: len(rms)]
    usual = np.sort(rms[: len(on)][on][::4])
    limit = usual.mean() + 1.5 * usual[len(usual) // 10 : len(usual) - len(usual) // 10].std()
    loud = rms > np.clip(limit, 0.1, 10)
    start, stop = _runs(level & alike & loud, max_gap=round(0.5 * rate))
    seconds = (stop - start) / rate
    kept = (seconds >= 0.5) & (seconds <= 2.0)
    return (start + stop)[kept] / 2 / rate


def find_slow_waves(waves: Waves) -> np.ndarray:
    """Troughs of slow waves in s.

    Massimini M et al. (2004), J Neurosci 24(31), 6862-6870, with the criteria of Carrier J et al.
    (2011), Eur J Neurosci 33(4), 758-766, as YASA has them: in 0.3 to 1.5 Hz, a trough of 40 uV or
    more that lasts 0.3 to 1.5 s, a peak of 10 uV after it for 0.1 to 1 s, 75 to 350 uV in all.
    """
    half = _HalfWaves.of(waves.band(0.2, 1.6, 32.0))
    trough, peak = half.extreme[:-1], half.extreme[1:]
    kept = (trough <= -40) & (trough >= -200) & (peak >= 10) & (peak <= 150)
    kept &= (peak - trough >= 75) & (peak - trough <= 350)
    kept &= (half.seconds[:-1] >= 0.3) & (half.seconds[:-1] <= 1.5)
    kept &= (half.seconds[1:] >= 0.1) & (half.seconds[1:] <= 1.0)
    return half.middle[:-1][kept]


def find_rapid_movements(waves: Waves) -> np.ndarray:
    """Middles of rapid eye movements in s.

    Half waves of 0.5 to 5 Hz of 50 to 325 uV that last 0.1 to 0.5 s, after Agarwal R et al. (2005),
    IEEE Trans Biomed Eng 52(8), 1390-1396; the AASM manual asks for a deflection below 0.5 s.
    """
    half = _HalfWaves.of(waves.band(0.5, 5.0, 32.0))
    size = np.abs(half.extreme)
    kept = (size >= 50) & (size <= 325) & (half.seconds >= 0.1) & (half.seconds <= 0.5)
    return half.middle[kept]


def share_of_slow_movements(waves: Waves) -> np.ndarray:
    """Share of each epoch's time in slow eye movements.

    Sinusoids of 0.2 to 0.6 Hz (Hiroshige Y 1999, Psychiatry Clin Neurosci 53(2), 197-199): half
    waves of 0.8 to 2.5 s and 40 uV or more.
    """
    half = _HalfWaves.of(waves.band(0.2, 0.6, 8.0))
    kept = (np.abs(half.extreme) >= 40) & (half.seconds >= 0.8) & (half.seconds <= 2.5)
    epoch = (half.middle[kept] / EPOCH_SECONDS).astype(int)
    n_epochs = len(waves.valid)
    seconds = np.bincount(epoch, half.seconds[kept], n_epochs)[:n_epochs]
    return np.minimum(seconds / EPOCH_SECONDS, 1)


@dataclass(frozen=True, slots=True)
class _HalfWaves:
    """The pieces of a wave between its zeros."""

    middle: np.ndarray  # s
    seconds: np.ndarray
    extreme: np.ndarray  # signed

    @classmethod
    def of(cls, samples: Samples) -> _HalfWaves:
        values = samples.values
        negative = values < 0
        starts = np.flatnonzero(negative[1:] != negative[:-1]) + 1
        if len(starts) < 2:
            return cls(np.zeros(0), np.zeros(0), np.zeros(0))
        before, after = np.abs(values[starts - 1]), np.abs(values[starts])
        # straight lines between samples; the sum is 0 only between two zeros
        zeros = starts - after / np.maximum(before + after, np.float32(1e-30))
        lowest, highest = (f.reduceat(values, starts)[:-1] for f in (np.minimum, np.maximum))
        extreme = np.where(-lowest > highest, lowest, highest)
        middle = (zeros[1:] + zeros[:-1]) / 2 / samples.rate
        return cls(middle, np.diff(zeros) / samples.rate, extreme)


def _runs(inside: np.ndarray, max_gap: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last+1 of each run of True; runs with a gap of so many or fewer are one."""
    edges = np.flatnonzero(np.diff(inside.astype(np.int8), prepend=0, append=0))
    start, stop = edges[::2], edges[1::2]
    apart = start[1:] - stop[:-1] > max_gap
    first, last = np.append(True, apart), np.append(apart, True)
    return (start[first], stop[last]) if len(start) else (start, stop)


def _per_minute(times: np.ndarray, samples: Samples) -> np.ndarray:
    """Events a minute in each epoch."""
    n_epochs = len(samples.valid)
    epoch = (times / EPOCH_SECONDS).astype(int)
    counts = np.bincount(epoch[epoch < n_epochs], minlength=n_epochs)
    return counts * (60 / EPOCH_SECONDS)


def moving_sum(values: np.ndarray, width: int) -> np.ndarray:
    """Sums over ``width`` epochs around each along the first axis, fewer at the ends."""
    total = np.zeros((len(values) + 1, *values.shape[1:]))
    np.cumsum(values, axis=0, out=total[1:])
    place = np.arange(len(values))
    last = np.minimum(place + width // 2 + 1, len(values))
    return total[last] - total[np.maximum(place - width // 2, 0)]
