# SPDX-License-Identifier: BSD-3-Clause
"""Sources of a recording's samples: memory, a file, a simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from .._arguments import shown
from .._files import sha256
from ..errors import InvalidRecordingError, InvalidSignalError
from .modality import EPOCH_SECONDS, MODALITIES, Modality, get_modality

# of sensors and of what files are resampled to; samples per epoch of counters
_USUAL_RATES = (
    0.5, 1, 2, 3, 4, 5, 8, 10, 12.5, 16, 20, 25, 30, 32, 40, 50, 60, 62.5, 64, 75, 80, 100, 120,
    125, 128, 150, 160, 180, 200, 240, 250, 256, 300, 400, 500, 512, 600, 1000, 1024, 1200, 2000,
    2048,
)  # fmt: skip
# in Hz: one sample an hour, and more than any recorder of sleep takes
LOWEST_RATE, HIGHEST_RATE = 1 / 3600, 200_000.0
MICROVOLTS = {"uV": 1.0, "mV": 1e3, "V": 1e6, "nV": 1e-3}
_COUNTS_PER_EPOCH = (1, 2, 3, 5, 6, 10)
_SLOW_RATES = (1 / 5, 1 / 10, 1 / 15, 1 / 30, 1 / 60)
_LARGEST_GAP_OF_LEVELS = 60.0


@dataclass(frozen=True, slots=True)
class SignalLayout:
    """Rate, unit and length of a signal, known without reading its samples.

    Attributes
    ----------
    rate : float
        Samples per second.
    unit : str
    n_samples : int

    Examples
    --------
    >>> from sleep2vec_sklearn.recordings import SignalLayout
    >>> SignalLayout(rate=128.0, unit="uV", n_samples=3840).duration
    30.0
    """

    rate: float
    unit: str
    n_samples: int

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.n_samples / self.rate


@dataclass(frozen=True, slots=True)
class Signal:
    """Evenly spaced samples that start with the recording; NaN marks a gap.

    Attributes
    ----------
    values : ndarray of shape (n_samples,)
        Read-only real numbers.
    rate : float
        Samples per second.
    unit : str
        Unit of ``values``.

    Examples
    --------
    >>> from sleep2vec_sklearn import Recording
    >>> signal = Recording({"spo2": ([96.0] * 60, 1.0)}).signal("spo2")
    >>> signal.rate, signal.unit, signal.duration, signal.values[:2]
    (1.0, '%', 60.0, array([96., 96.]))
    """

    values: np.ndarray
    rate: float
    unit: str

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return len(self.values) / self.rate

    @property
    def layout(self) -> SignalLayout:
        """Rate, unit and length."""
        return SignalLayout(self.rate, self.unit, len(self.values))


class SignalSource(Protocol):
    """Protocol of what a lazy recording reads from; cheap to pickle, opened once per read.

    Three members are optional. ``signal_fingerprint(name) -> str`` is the hex sha256 of what the
    samples of one modality depend on, the key of its cached tokens; without it :meth:`fingerprint`
    is the key. ``files`` lists the paths that fingerprints are computed from, ``derived`` the
    modalities that are derived from others.

    Examples
    --------
    >>> import numpy as np
    >>> from sleep2vec_sklearn import Recording
    >>> from sleep2vec_sklearn.recordings import Signal, SignalLayout
    >>> class Flat:
    ...     layout = {"spo2": SignalLayout(rate=1.0, unit="%", n_samples=3600)}
    ...     def read(self, names):
    ...         return {name: Signal(np.full(3600, 96.0), 1.0, "%") for name in names}
    ...     def fingerprint(self):
    ...         return "flat"
    >>> night = Recording.from_source(Flat(), subject="s01")
    >>> night.n_epochs, night.signal("spo2").values.mean()
    (120, np.float64(96.0))
    """

    @property
    def layout(self) -> Mapping[str, SignalLayout]:
        """Layout of each modality, known without reading samples."""

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        """Read these modalities, and no others, in one pass."""

    def fingerprint(self) -> str:
        """Hex sha256 of everything the samples depend on."""


class MemorySource:
    """Signals in memory, validated and brought to one form.

    Parameters
    ----------
    signals : mapping of str to array-like, (array-like, float), Signal or None
        One entry per modality; see :class:`~sleep2vec_sklearn.Recording`.
    rates : mapping of str to float, optional
        Samples per second; the catalogue's rate by default, for ``ibi`` only of what is clearly a
        series at that rate.
    units : mapping of str to str, optional
        The catalogue's unit by default.

    Examples
    --------
    >>> from sleep2vec_sklearn.recordings import MemorySource
    >>> MemorySource({"spo2": [96, 95, 95, 97]}, rates={"spo2": 0.5}).layout["spo2"]
    SignalLayout(rate=0.5, unit='%', n_samples=4)
    """

    def __init__(
        self, signals: Mapping[str, Any], rates: Mapping[str, float] | None = None,
        units: Mapping[str, str] | None = None,
    ):  # fmt: skip
        rates, units = check_mapping("rates", rates), check_mapping("units", units)
        for name in (*signals, *rates, *units):
            get_modality(name)
        self._signals = {
            name: _as_signal(get_modality(name), signals[name], rates.get(name), units.get(name))
            for name in MODALITIES
            if signals.get(name) is not None
        }
        bare = [
            name
            for name in self._signals
            if rates.get(name) is None
            and not isinstance(signals[name], tuple | Signal)
            and np.ndim(signals[name]) == 1
        ]
        _check_bare_rates(self._signals, bare)
        self._fingerprint: str | None = None
        self._signal_fingerprints: dict[str, str] = {}

    def __getstate__(self) -> dict[str, Any]:
        # joblib.Memory knows X by a hash of its pickle, which must not change as X is used
        return {**self.__dict__, "_fingerprint": None, "_signal_fingerprints": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # unpickled arrays are writeable
        self.__dict__.update(state)
        for signal in self._signals.values():
            signal.values.flags.writeable = False

    @property
    def layout(self) -> dict[str, SignalLayout]:
        """Layout of each modality."""
        return {name: signal.layout for name, signal in self._signals.items()}

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        """The signals themselves; nothing is copied."""
        return {name: self._signals[name] for name in names}

    def fingerprint(self) -> str:
        """sha256 over sorted (name, dtype, shape, rate, unit, bytes), computed once."""
        if self._fingerprint is None:
            parts = []
            for name, signal in sorted(self._signals.items()):
                values = signal.values
                layout = (name, values.dtype.str, values.shape, signal.rate, signal.unit)
                parts += [repr(layout), np.ascontiguousarray(values).data]
            self._fingerprint = sha256(*parts)
        return self._fingerprint

    def signal_fingerprint(self, name: str) -> str:
        """sha256 over one modality's (dtype, shape, rate, unit, samples), computed once."""
        if name not in self._signal_fingerprints:
            signal = self._signals[name]
            # equal samples have one hash, in any byte order, memory layout and exact dtype
            values = _to_float32_if_exact(signal.values)
            layout = (values.dtype.name, values.shape, signal.rate, signal.unit)
            fingerprint = sha256(repr(layout), np.ascontiguousarray(values).data)
            self._signal_fingerprints[name] = fingerprint
        return self._signal_fingerprints[name]


class KeptSignals:
    """A source some of whose signals are in memory; with ``more``, all that are read stay there."""

    def __init__(self, source: SignalSource, signals: Mapping[str, Signal], more: bool):
        self._source = source
        self._signals = dict(signals)
        self._keeps_more = more

    def __getattr__(self, name: str) -> Any:
        # a copy is asked for private members before it has a source
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._source, name)

    def read(self, names: Sequence[str]) -> dict[str, Signal]:
        """As that of the source."""
        unread = [name for name in names if name not in self._signals]
        signals = self._signals | (self._source.read(unread) if unread else {})
        if self._keeps_more:
            self._signals = signals
        return {name: signals[name] for name in names}


def to_canonical_unit(
    values: np.ndarray, rate: float, unit: str, modality: Modality, acceleration: bool = False
) -> tuple[np.ndarray, float]:
    """Samples in the catalogue's unit as float32, counts per second, and their rate."""
    if modality.name == "actigraphy" and unit == "g" and not acceleration:
        from .derivation import counts_from_acceleration

        return counts_from_acceleration(values, rate)
    with np.errstate(over="ignore"):
        values = values.astype(np.float32, copy=False)
    if acceleration:
        return values, rate
    if modality.name == "ibi" and unit == "bpm":
        with np.errstate(divide="ignore"):
            return np.where(values > 0, np.float32(60) / values, np.float32(np.nan)), rate
    factor = {"ms": 1e-3, "fraction": 100.0, "counts": rate}.get(unit, 1.0)
    if modality.unit == "uV":
        factor = MICROVOLTS[unit]
    return (values if factor == 1.0 else values * np.float32(factor)), rate


def usable_seconds(signal: Signal, modality: Modality, duration: float) -> float:
    """Seconds of samples, up to a duration, that conditioning would use: sensor on and not flat."""
    in_g = signal.unit == "g"
    values = signal.values[: int(np.ceil(duration * signal.rate))]
    values, _ = to_canonical_unit(values, signal.rate, signal.unit, modality, in_g)
    low, high = (None, None) if in_g else modality.conditioning.limits
    usable = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        usable &= (values >= (-np.inf if low is None else low)) & (
            values <= (np.inf if high is None else high)
        )
    if not usable.any() or np.ptp(values[usable]) == 0:
        return 0.0
    if modality.conditioning.scaling == "robust":
        n_epochs = int(np.ceil(len(values) / signal.rate / EPOCH_SECONDS - 1e-9))
        edges = np.round(np.arange(n_epochs + 1) * EPOCH_SECONDS * signal.rate).astype(int)
        for start, stop in pairwise(np.minimum(edges, len(values)).tolist()):
            moving = values[start:stop][usable[start:stop]]
            if len(moving) > 1 and moving.min() == moving.max():
                usable[start:stop] = False
    return float(usable.sum() / signal.rate)


def longest_duration(layout: Mapping[str, SignalLayout]) -> float:
    """Seconds of the longest signal; an error if there is none."""
    if not layout:
        raise InvalidRecordingError(
            "no modality has a signal. Pass at least one array, e.g. "
            f"{{'eeg': samples}}; known modalities: {', '.join(MODALITIES)}."
        )
    return max(item.duration for item in layout.values())


def check_mapping(option: str, value: Any) -> Mapping[str, Any]:
    """An option that maps modalities or labels; None is an empty one."""
    if value is not None and not isinstance(value, Mapping):
        raise InvalidRecordingError(
            f"{option} is {value!r}; accepted is a mapping from modality, e.g. "
            f"{option}={{'eeg': {value!r}}}."
        )
    return value or {}


def _as_signal(modality: Modality, value: Any, rate: float | None, unit: str | None) -> Signal:
    if isinstance(value, tuple):
        if len(value) != 2:
            raise InvalidSignalError(
                f"{modality.name!r} is a tuple of {len(value)} items; accepted is (array, rate). "
                "Pass a numpy array if these are the samples."
            )
        value, rate = value
    elif isinstance(value, Signal):
        for name, own, option in (("rate", value.rate, rate), ("unit", value.unit, unit)):
            if option not in (None, own):
                raise InvalidSignalError(
                    f"{modality.name!r} is a Signal with {name} {own!r}, but {name}s has "
                    f"{option!r}. Drop it from {name}s, or pass the samples alone, signal.values."
                )
        value, rate, unit = value.values, value.rate, value.unit
    values = _as_real_array(modality, value)
    if rate is None and _index_kind(value) == "f":
        raise InvalidSignalError(
            f"{modality.name!r} is a Series with an index of numbers from {value.index[0]:g} to "
            f"{value.index[-1]:g}, which may be seconds or not. Pass (array, rate), or "
            "pd.to_timedelta(series.index, unit='s') as the index."
        )
    rate = _rate_of(modality, values, rate)
    if unit is None and modality.name == "actigraphy":
        _check_counts(values.reshape(-1), rate)
    unit = modality.unit if unit is None else unit
    if not isinstance(unit, str) or unit not in modality.units:
        raise InvalidSignalError(
            f"{modality.name!r} has unit {shown(unit)}; accepted are {', '.join(modality.units)}. "
            f'Convert the samples, or pass units={{"{modality.name}": ...}}.'
        )
    flat = values.reshape(-1)
    flat.flags.writeable = False
    return Signal(flat, rate, unit)


def _as_real_array(modality: Modality, value: Any) -> np.ndarray:
    name = modality.name
    try:
        values = np.ma.filled(value.astype(float), np.nan) if np.ma.isMA(value) else value
        values = np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InvalidSignalError(
            f"{name!r} is a {type(value).__name__} that numpy makes no array of: {error}. "
            "Accepted are numbers in one dimension, e.g. a float32 array."
        ) from error
    if values.dtype.kind not in "fiub":
        raise InvalidSignalError(
            f"{name!r} has dtype {values.dtype}; accepted are real numbers. Convert it with "
            f"np.asarray({name}, dtype='float32')" + (".real." if values.dtype.kind == "c" else ".")
        )
    if values.ndim not in (1, 2):
        raise InvalidSignalError(
            f"{name!r} has shape {values.shape}; accepted are one channel of shape (n_samples,) "
            "or (n_epochs, samples_per_epoch). Pick one channel or derivation."
        )
    if values.dtype.kind == "f" and values.dtype.itemsize == 2:
        values = values.astype(np.float32)
    return values


def _check_counts(values: np.ndarray, rate: float) -> None:
    """Refuse acceleration that is not stated to be: it rests at gravity, or has negative parts."""
    known = values[np.isfinite(values)].astype(float)
    if not len(known):
        return
    whole = known == np.round(known)
    low, middle, high = np.percentile(known, [25, 50, 75])
    # whole numbers around 1000 are mg
    rests = np.ptp(known) > 0 and high - low < 0.2 * middle and (middle > 200 or not whole.all())
    if rests or ((known < 0) & ~whole).any() or rate >= 10:
        what = f"rest at {middle:.3g}" if rests else f"reach from {known.min():.3g}"
        raise InvalidSignalError(
            f"'actigraphy' has no unit, and values that {what} to {known.max():.3g} at {rate:g} "
            "Hz, as acceleration does; accepted without a unit are counts per sample. Pass the "
            "magnitude, np.linalg.norm(xyz, axis=1) in g, with units={'actigraphy': 'g'}, or state "
            "units={'actigraphy': 'counts'}."
        )


def _check_bare_rates(signals: Mapping[str, Signal], bare: Sequence[str]) -> None:
    """Refuse samples without a rate that are as long as the others at another rate, or beats."""
    stated = [signal.duration for name, signal in signals.items() if name not in bare]
    for name in bare:
        signal = signals[name]
        others = stated if name != "ibi" else [s.duration for n, s in signals.items() if n != name]
        if any(abs(duration - signal.duration) < EPOCH_SECONDS for duration in others):
            continue
        fits = len(signal.values) / (max(stated, default=0) or np.inf)
        usual = [rate for rate in (*_USUAL_RATES, *_SLOW_RATES) if abs(fits - rate) < 1e-3 * rate]
        if usual:
            raise InvalidSignalError(
                f"{name!r} is {len(signal.values)} values without a rate, which at the default of "
                f"{signal.rate:g} Hz last {signal.duration:g} s, and at {usual[0]:g} Hz as long as "
                f"the rest, {max(stated):g} s. Pass the rate, (array, {usual[0]:g})."
            )
        if name == "ibi" and (signal.unit == "bpm" or not _changes_slowly(signal.values)):
            raise InvalidSignalError(
                f"'ibi' is {len(signal.values)} values without a rate, which at {signal.rate:g} Hz "
                "do not change as such a series does: is it one value a beat, or a heart rate? "
                "Make a series of them, with functions of sleep2vec_sklearn.recordings.derivation: "
                "ibi_from_intervals(np.cumsum(seconds), seconds), ibi_from_beats(times) or "
                "ibi_from_heart_rate(times, bpm); of an even series, pass (array, rate)."
            )


def _changes_slowly(values: np.ndarray) -> bool:
    """Whether values lie on lines or curves, as interpolated ones do and single beats do not."""
    steps = np.diff(values[:100_000].astype(float))
    before, after = steps[:-1], steps[1:]
    known = np.isfinite(before) & np.isfinite(after)
    before, after = before[known], after[known]
    if not before.any():
        return True
    # interpolated between beats by lines, by curves, or held
    rounding = 1e-5 * np.nanmedian(np.abs(values))
    straight = np.mean(np.abs(after - before) <= rounding)
    alike = (before * after).mean() / (before * before).mean()
    held = np.mean(np.abs(before) <= rounding)
    return bool((straight > 0.12 and alike > 0.25) or alike > 0.9 or held > 0.5)


def check_start(start: Any) -> datetime | None:
    """The clock time of the first sample; None and NaT are an unknown one."""
    if start is None or isinstance(start, datetime) or str(start) == "NaT":
        return None if str(start) == "NaT" else start
    raise InvalidRecordingError(
        f"start is {shown(start)}; accepted is a datetime, the clock time of the first sample. "
        "Pass pd.Timestamp(start) of a text, or None if it is not known."
    )


def series_in_time(
    signals: Mapping[str, Any], units: Mapping[str, str] | None, start: datetime | None
) -> tuple[dict[str, Any], dict[str, str], datetime | None]:
    """Signals, units and start with pandas Series that have times brought to even samples.

    Times of day count from ``start``, by default the earliest, timedeltas from 0.
    """
    start = check_start(start)
    timed = {n: value for n, value in signals.items() if _index_kind(value) in ("m", "M")}
    units = dict(check_mapping("units", units))
    if not timed:
        return dict(signals), units, start
    stamped = [series.index for series in timed.values() if series.index.dtype.kind == "M"]
    zero: Any = start
    if stamped:
        zone = stamped[0].tz
        if any((index.tz is None) != (zone is None) for index in stamped):
            raise InvalidRecordingError(
                "some of the Series have times with a time zone and some without; accepted is one "
                "or the other. Use series.tz_localize(zone) or series.tz_localize(None)."
            )
        zero = min(index.min() for index in stamped) if zero is None else zero
        # a plain datetime without zone, also of pandas' timestamps
        start = datetime.combine(zero.date(), zero.time())
        if zone is None:
            zero = start
        elif zero.tzinfo is None:
            zero = type(stamped[0])([zero], tz=zone)[0]
    placed = dict(signals)
    for name, series in timed.items():
        index = series.index - zero if series.index.dtype.kind == "M" else series.index
        unit = units.pop(name, get_modality(name).unit)
        try:
            values = series.to_numpy(dtype=float, na_value=np.nan)
        except (TypeError, ValueError) as error:
            raise InvalidSignalError(
                f"{name!r} is a Series of {series.dtype}, not of numbers: {error}. Convert it with "
                "pd.to_numeric."
            ) from error
        times = index.total_seconds().to_numpy()
        placed[name] = _at_even_times(get_modality(name), times, values, unit)
    return placed, units, start


def _index_kind(value: Any) -> str | None:
    """Kind of the index of a pandas Series: "M" for times of day, "m" for timedeltas."""
    dtype = getattr(getattr(value, "index", None), "dtype", None)
    return None if dtype is None or value.ndim != 1 else str(dtype.kind)


def _at_even_times(modality: Modality, times: np.ndarray, values: np.ndarray, unit: str) -> Signal:
    """Samples at known times as a signal that starts at 0 s; NaN where there are none."""
    steps = np.diff(times)
    if len(steps) < 1 or not (steps > 0).all():
        raise InvalidSignalError(
            f"{modality.name!r} has {len(times)} times that do not all increase; accepted are two "
            "or more, each once. Use series.sort_index(), and drop what is there twice."
        )
    step = steps[steps < 1.5 * np.median(steps)].mean()
    positions = (times - times[0]) / step
    places = np.round(positions).astype(np.int64)
    if np.abs(positions - places).max() > 0.3 or (np.diff(places) < 1).any():
        return _resample_level(modality, times, values, unit)
    rate, whole = 1 / step, round(1 / step)
    # a whole number, unless that would be half a sample off at the end
    rate = whole if abs(rate - whole) * (times[-1] - times[0]) < 0.5 and whole else rate
    places += round(times[0] * rate)
    if places[0] == 0 and places[-1] == len(places) - 1:
        return Signal(values, float(rate), unit)
    even = np.full(max(int(places[-1]) + 1, 0), np.nan)
    even[places[places >= 0]] = values[places >= 0]
    return Signal(even, float(rate), unit)


def _resample_level(modality: Modality, times: np.ndarray, values: np.ndarray, unit: str) -> Signal:
    """A level at uneven times as an even series; waveforms and counts are refused."""
    from ._resampling import interpolate
    from .derivation import ibi_from_heart_rate, ibi_from_intervals

    if modality.name == "ibi" and unit == "bpm":
        return Signal(*ibi_from_heart_rate(times, np.where(values > 0, values, np.nan)), "s")
    if modality.name == "ibi":
        return Signal(*ibi_from_intervals(times, values * (1e-3 if unit == "ms" else 1)), "s")
    if modality.name != "spo2":
        raise InvalidSignalError(
            f"{modality.name!r} has times that are {np.diff(times).min():g} to "
            f"{np.diff(times).max():g} s apart; accepted are even ones, with gaps, as only levels "
            "can be resampled from uneven ones. Pass (array, rate) if the clock is at fault."
        )
    known = np.isfinite(values)
    even = interpolate(times[known], values[known], times[-1] + 1, 1.0, _LARGEST_GAP_OF_LEVELS)
    return Signal(even, 1.0, unit)


def _rate_of(modality: Modality, values: np.ndarray, rate: float | None) -> float:
    """The rate that is stated, else that of rows of 30 s, else the catalogue's."""
    name, usual = modality.name, modality.conditioning.rate
    if rate is not None:
        rate = check_rate(name, rate)
    if values.ndim == 2:
        implied = values.shape[1] / EPOCH_SECONDS
        if rate is not None and not np.isclose(implied, rate):
            raise InvalidSignalError(
                f"{name!r} has {values.shape[1]} samples in each epoch of {EPOCH_SECONDS} s, which "
                f"is {implied:g} Hz, but rate {rate!r} was given. Drop the rate, or pass the "
                "samples of the whole night as shape (n_samples,), one row of (channels, samples)."
            )
        if rate is None and not _is_of_epochs(modality, values, implied):
            raise InvalidSignalError(
                f"{name!r} has shape {values.shape}, which as (epochs, samples) is "
                f"{len(values)} epochs at {implied:g} Hz, as no sensor has; accepted are one "
                "channel of shape (n_samples,), and epochs of 30 s. Of (channels, samples), as "
                "mne.io.Raw.get_data() gives them, pass one row with its rate, (data[0], "
                "raw.info['sfreq']), or use Recording.from_mne(raw)."
            )
        rate = implied
    return check_rate(name, usual if rate is None else rate)


def check_rate(name: str, rate: Any) -> float:
    """Samples per second, within what sensors have; others take hours or memory to resample."""
    is_number = isinstance(rate, int | float | np.integer | np.floating)
    if isinstance(rate, bool | np.timedelta64) or not is_number:
        raise InvalidSignalError(
            f"{name!r} has rate {rate!r}; accepted is a number in Hz. Pass float(rate)."
        )
    # not by float(), as an integer may be too large for it
    if not (rate > 0 and rate < float("inf")):
        accepted = "a positive, finite number of samples per second"
        raise InvalidSignalError(f"{name!r} has rate {rate!r} Hz; accepted is {accepted}.")
    if not LOWEST_RATE * (1 - 1e-9) <= rate <= HIGHEST_RATE:
        raise InvalidSignalError(
            f"{name!r} has rate {rate!r:.40} Hz; accepted are 1 sample per hour to "
            f"{HIGHEST_RATE:,.0f} per second. Check whether it is the time between samples."
        )
    return float(rate)


def _is_of_epochs(modality: Modality, values: np.ndarray, rate: float) -> bool:
    """Whether rows are those of epochs, not of channels or single samples."""
    if len(values) == 1:
        # one epoch and one channel of the default rate are the same
        return rate == modality.conditioning.rate
    counts = modality.name == "actigraphy" and values.shape[1] in _COUNTS_PER_EPOCH
    return counts or (rate in _USUAL_RATES and rate >= (modality.conditioning.min_rate or 0))


def _to_float32_if_exact(values: np.ndarray) -> np.ndarray:
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    with np.errstate(over="ignore"):
        single = native.astype(np.float32, copy=False)
    exact = single is native or np.array_equal(single, native, equal_nan=True)
    return single if exact else native
