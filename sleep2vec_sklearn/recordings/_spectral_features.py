# SPDX-License-Identifier: BSD-3-Clause
"""Features of an epoch from EEG, EOG and chin EMG.

YASA and antropy compute most of these for one epoch or channel at a time with numba, pandas and
MNE; here a night of 8 h takes some 0.1 s a sensor, with scipy alone. Amplitudes are in uV, powers
in dB, so that an amplifier's gain is a shift, which the columns relative to the night leave out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import irfft, rfft

from ._resampling import blocks, decimate, moving_mean
from .modality import EPOCH_SECONDS


@dataclass(frozen=True, slots=True)
class Samples:
    """A sensor's samples of a night, without gaps, and in which epochs it is on."""

    values: np.ndarray  # float [n_samples]
    rate: float
    valid: np.ndarray  # bool [n_epochs]

    def epochs(self) -> np.ndarray:
        """Of shape (n_epochs, samples of an epoch); the last value is held after the end."""
        n_epochs, width = len(self.valid), max(round(EPOCH_SECONDS * self.rate), 1)
        first = (np.arange(n_epochs) * EPOCH_SECONDS * self.rate + 1e-6).astype(np.int64)
        values, missing = self.values, first[-1] + width - len(self.values)
        if missing > 0:
            values = np.pad(values, (0, missing), mode="edge")
        if width == EPOCH_SECONDS * self.rate:
            return values[: n_epochs * width].reshape(n_epochs, width)
        return sliding_window_view(values, width)[first]


# fmt: off
EEG_BANDS = {
    "so": (0.5, 1.0), "delta": (1.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 12.0),
    "sigma": (12.0, 16.0), "beta": (16.0, 30.0), "gamma": (30.0, 45.0),
}
EOG_BANDS = {"slow": (0.5, 2.0), "delta": (2.0, 4.0), "theta": (4.0, 8.0), "alpha": (8.0, 12.0),
             "sigma": (12.0, 16.0), "beta": (16.0, 30.0)}
EMG_BANDS = {"low": (10.0, 20.0), "mid": (20.0, 35.0), "high": (35.0, 60.0)}
# fmt: on
_POWER_FLOOR = 1e-3  # uV2, a tenth of what the best amplifiers add in a band
_SLOPE_BANDS = ((2.0, 7.0), (16.0, 24.0))
_FASTEST_WAVE = 1.15 * 30.0
Gain = Callable[[np.ndarray], np.ndarray]  # of amplitudes by frequency


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
    window = hann(width).astype(np.float32)
    frequency = np.fft.rfftfreq(width, 1 / samples.rate)
    frequency = frequency[frequency < EMG_BANDS["high"][1]].astype(np.float32)
    inside = np.stack([is_inside(frequency, band, samples.rate) for band in EMG_BANDS.values()])
    weights = inside * np.float32(2 / (width * (window**2).sum())) / gain(frequency) ** 2
    bands = np.empty((len(epochs), n_parts, len(EMG_BANDS)), np.float32)
    for block in blocks(len(epochs), 16):
        # the mean of a second is far below the bands
        spectra = rfft(parts[block] * window)[..., : len(frequency)]
        bands[block] = squares(spectra) @ weights.T.astype(np.float32)
    second = bands.sum(axis=2) + _POWER_FLOOR
    level = 10 * np.log10(second)
    low, median, high = np.percentile(level, [10, 50, 90], axis=1)
    lowest = np.percentile(level[samples.valid], 5)
    share = 10 * np.log10((bands.mean(axis=1) + _POWER_FLOOR) / second.mean(axis=1)[:, None])
    if not inside[-1].any():
        share[:] = np.nan
    return {
        "rms_db": median, "tonic_db": low, "phasic_db": high - median, "peak_db": level.max(axis=1),
        "atonia": (level < lowest + 20 * np.log10(2)).mean(axis=1),
        "low_db": share[:, 0], "high_db": share[:, -1],
    }  # fmt: skip


def eeg_features(samples: Samples) -> dict[str, np.ndarray]:
    """Spectrum, aperiodic slope, Hjorth, entropies, spindles and slow waves."""
    samples, gain = _decimated(samples, 100.0)
    columns, frequency, power = _band_features(samples, gain, EEG_BANDS)
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
    samples, gain = _decimated(samples, 100.0)
    columns, _, _ = _band_features(samples, gain, EOG_BANDS)
    waves = Waves.of(samples)
    broad = waves.band(0.5, 30.0, 64.0)
    columns["mobility"], _ = hjorth(broad.epochs(), broad.rate)
    columns["rapid"] = _per_minute(find_rapid_movements(waves), samples)
    columns["rolling"] = share_of_slow_movements(waves)
    return columns


def _band_features(
    samples: Samples, gain: Gain, bands: Mapping[str, tuple[float, float]]
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Powers and shares of bands, edge and entropy; frequencies and power density.

    Welch's method, Hann windows of 4 s that overlap by half. Spectral entropy: Inouye T et al.
    (1991), Electroencephalogr Clin Neurophysiol 79(3), 204-210.
    """
    frequency, power = power_density(samples)
    power /= (gain(frequency) ** 2).astype(np.float32)
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


def power_density(samples: Samples) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies up to 46 Hz, and the power density of each epoch by Welch's method (uV2/Hz).

    Without its subtraction of means, which with such windows are below 0.5 Hz alone.
    """
    epochs = samples.epochs()
    width = min(round(4 * samples.rate), epochs.shape[1])
    window = hann(width).astype(np.float32)
    windows = sliding_window_view(epochs, width, axis=1)[:, :: width - width // 2]
    frequency = np.fft.rfftfreq(width, 1 / samples.rate).astype(np.float32)
    frequency = frequency[frequency <= 46.0]
    power = np.empty((len(epochs), len(frequency)), np.float32)
    for block in blocks(len(epochs), 16):
        power[block] = squares(rfft(windows[block] * window)[..., : len(frequency)]).mean(axis=1)
    return frequency, power * np.float32(2 / (samples.rate * (window**2).sum()))


def squares(spectra: np.ndarray) -> np.ndarray:
    """Squared magnitudes."""
    return spectra.real**2 + spectra.imag**2


def _decimated(samples: Samples, min_rate: float) -> tuple[Samples, Gain]:
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
    spreads = np.empty((3, len(epochs)), np.float32)
    for block in blocks(len(epochs), 32):
        part = epochs[block]
        for spread in spreads:
            spread[block] = _spread(part)
            part = np.diff(part, axis=1)
    spread, of_first, of_second = spreads + np.float32(1e-6)
    mobility = of_first / spread
    return mobility * rate, of_second / of_first / mobility


def _spread(epochs: np.ndarray) -> np.ndarray:
    """SD of each epoch of a wave without offset, in one pass."""
    variance = np.einsum("ij,ij->i", epochs, epochs) / epochs.shape[1] - epochs.mean(axis=1) ** 2
    return np.sqrt(np.maximum(variance, 0))


def permutation_entropy(epochs: np.ndarray) -> np.ndarray:
    """Of order 3 and delay 1, over its largest value: 1 is noise, 0 a ramp.

    Bandt C, Pompe B (2002), Phys Rev Lett 88, 174102.
    """
    n = max(epochs.shape[1] - 2, 1)
    counts = np.empty((6, len(epochs)))
    for block in blocks(len(epochs), 32):
        part = epochs[block]
        rises = part[:, :-1] < part[:, 1:]
        first, second = np.packbits(rises[:, :-1], axis=1), np.packbits(rises[:, 1:], axis=1)
        whole = np.packbits(part[:, :-2] < part[:, 2:], axis=1)
        orders = (
            first & second, first & ~second & whole, first & ~second & ~whole,
            second & ~first & whole, second & ~first & ~whole,
        )  # fmt: skip
        for order, count in zip(orders, counts, strict=False):
            count[block] = np.bitwise_count(order).sum(axis=1)
    counts[5] = n - counts[:5].sum(axis=0)
    share = counts / n
    return -(share * np.log(np.where(share > 0, share, 1))).sum(axis=0) / np.log(6)


@dataclass(frozen=True, slots=True)
class Waves:
    """The spectra of pieces of a night, from which bands are cut: one transform for all of them.

    A piece is 4 min, of which a quarter of a minute at each end overlaps with its neighbours and
    is cut off, as what is beyond an end rings into it.
    """

    spectra: np.ndarray  # complex64 [n_pieces, n_frequencies]
    frequency: np.ndarray
    half_minute: int  # samples
    rate: float
    valid: np.ndarray

    @classmethod
    def of(cls, samples: Samples) -> Waves:
        """Of samples at some 100 Hz."""
        values, rate = samples.values, samples.rate
        half_minute = 2 * round(15 * rate)
        size, step, margin = 8 * half_minute, 7 * half_minute, half_minute // 2
        n_pieces = -(-len(values) // step)
        padded = np.zeros(n_pieces * step + half_minute, np.float32)
        np.subtract(values, values.mean(), out=padded[margin : margin + len(values)])
        pieces = sliding_window_view(padded, size)[::step]
        frequency = np.fft.rfftfreq(size, 1 / rate).astype(np.float32)
        frequency = frequency[frequency < _FASTEST_WAVE]
        spectra = np.empty((n_pieces, len(frequency)), np.complex64)
        for block in blocks(n_pieces, 8):
            spectra[block] = rfft(pieces[block])[:, : len(frequency)]
        return cls(spectra, frequency, half_minute, rate, samples.valid)

    def band(self, low: float, high: float, rate: float) -> Samples:
        """The waves of a band at about ``rate``, by a filter without phase."""
        half_minute = 2 * round(15 * rate)
        n_bins = min(int((self.frequency <= 1.15 * high).sum()), 4 * half_minute + 1)
        used = self.frequency[:n_bins]
        # half the amplitude at the corners
        weights = _rise(used, low) * (1 - _rise(used, min(high, 0.45 * self.rate)))
        weights *= np.float32(half_minute / self.half_minute)
        values = np.empty((len(self.spectra), 7 * half_minute), np.float32)
        margin = half_minute // 2
        for block in blocks(len(values), 8):
            pieces = irfft(self.spectra[block, :n_bins] * weights, 8 * half_minute)
            values[block] = pieces[:, margin:-margin]
        rate = self.rate * half_minute / self.half_minute
        n_samples = int(np.ceil(len(self.valid) * EPOCH_SECONDS * rate))
        return Samples(values.ravel()[:n_samples], rate, self.valid)


def _rise(frequency: np.ndarray, corner: float) -> np.ndarray:
    # narrower edges ring longer
    half = np.clip(0.15 * corner, 0.1, 0.75)
    share = np.clip((frequency - corner + half) / (2 * half), 0, 1).astype(np.float32)
    return np.sin(np.pi / 2 * share) ** 2


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
    rate, n, reach = sigma.rate, len(sigma.values), round(sigma.rate / 2) + 1
    x, y = np.pad(sigma.values, reach), np.pad(broad.values, reach)

    def over(seconds: float, values: np.ndarray) -> np.ndarray:
        width = round(seconds * rate)
        first = reach - width // 2
        return moving_mean(values[first : len(values) - 2 * reach + first + width - 1], width)

    power = np.empty(n, np.float32)
    for block in blocks(n, 1 << 15):
        power[block] = over(0.3, x[block.start : block.stop + 2 * reach] ** 2)
    usual = np.sqrt(Samples(power, rate, waves.valid).epochs()[waves.valid, ::4].ravel())
    usual.sort()
    tail = len(usual) // 10
    limit = np.clip(usual.mean() + 1.5 * usual[tail : len(usual) - tail].std(), 0.1, 10)
    half_second = round(0.5 * rate)
    on = power > limit**2
    start, stop = _runs(on, half_second)
    # of what is loud for long alone, and of what is around it, the rest is computed
    is_long = stop - start >= half_second
    start, size = start[is_long], (stop - start)[is_long] + 2 * reach
    offset = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
    place = np.repeat(start, size) + offset
    x, y = np.pad(x[place], reach), np.pad(y[place], reach)
    whole = y * y
    level = over(1.0, x * x - np.float32(0.2) * whole) > 0
    whole = over(0.3, whole) - over(0.3, y) ** 2
    common = over(0.3, x * y)
    # means of sigma over 0.3 s are next to nothing
    alike = (common > 0) & (common**2 > 0.65**2 * over(0.3, x * x) * whole)
    inside = (offset >= reach) & (offset < np.repeat(size, size) - reach)
    found = np.zeros_like(on)
    found[place[inside & level & alike] - reach] = True
    start, stop = _runs(found & on, half_second)
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
        extreme = np.maximum.reduceat(np.abs(values), starts)[:-1]
        extreme[negative[starts[:-1]]] *= -1
        middle = (zeros[1:] + zeros[:-1]) / 2 / samples.rate
        return cls(middle, np.diff(zeros) / samples.rate, extreme)


def _runs(inside: np.ndarray, max_gap: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last+1 of each run of True; runs with a gap of so many or fewer are one."""
    padded = np.pad(inside, 1)
    edges = np.flatnonzero(padded[1:] != padded[:-1])
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


def hann(n: int) -> np.ndarray:
    """A periodic Hann window of n samples."""
    # scipy.signal has one too, and takes half a second to import
    return np.hanning(n + 1)[:-1]
