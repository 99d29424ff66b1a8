# SPDX-License-Identifier: BSD-3-Clause
"""Sources of a recording's samples: memory, a file, a simulation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .._files import sha256
from ..errors import InvalidRecordingError, InvalidSignalError
from .modality import EPOCH_SECONDS, MODALITIES, Modality, get_modality


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
        Samples per second; the catalogue's rate by default.
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
        rates, units = _check_option("rates", rates), _check_option("units", units)
        for name in (*signals, *rates, *units):
            get_modality(name)
        self._signals = {
            name: _as_signal(get_modality(name), signals[name], rates.get(name), units.get(name))
            for name in MODALITIES
            if signals.get(name) is not None
        }
        self._fingerprint: str | None = None
        self._signal_fingerprints: dict[str, str] = {}

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


def longest_duration(layout: Mapping[str, SignalLayout]) -> float:
    """Seconds of the longest signal; an error if there is none."""
    if not layout:
        raise InvalidRecordingError(
            "no modality has a signal. Pass at least one array, e.g. "
            f"{{'eeg': samples}}; known modalities: {', '.join(MODALITIES)}."
        )
    return max(item.duration for item in layout.values())


def _check_option(name: str, option: Any) -> Mapping[str, Any]:
    if option is None:
        return {}
    if not isinstance(option, Mapping):
        raise InvalidRecordingError(
            f"{name} is {option!r}; accepted is a mapping from modality, e.g. "
            f"{name}={{'eeg': {option!r}}}."
        )
    return option


def _as_signal(modality: Modality, value: Any, rate: float | None, unit: str | None) -> Signal:
    if isinstance(value, tuple):
        if len(value) != 2:
            raise InvalidSignalError(
                f"{modality.name!r} is a tuple of {len(value)} items; accepted is (array, rate). "
                "Pass a numpy array if these are the samples."
            )
        value, rate = value
    elif isinstance(value, Signal):
        _check_agreement(modality, value, rate, unit)
        value, rate, unit = value.values, value.rate, value.unit
    values = _as_real_array(modality, value)
    rate = _check_rate(modality, values, rate)
    unit = modality.unit if unit is None else unit
    if unit not in modality.units:
        raise InvalidSignalError(
            f"{modality.name!r} has unit {unit!r}; accepted are {', '.join(modality.units)}. "
            f'Convert the samples, or pass units={{"{modality.name}": ...}}.'
        )
    flat = values.reshape(-1)
    flat.flags.writeable = False
    return Signal(flat, rate, unit)


def _check_agreement(
    modality: Modality, signal: Signal, rate: float | None, unit: str | None
) -> None:
    for name, own, option in (("rate", signal.rate, rate), ("unit", signal.unit, unit)):
        if option not in (None, own):
            raise InvalidSignalError(
                f"{modality.name!r} is a Signal with {name} {own!r}, but {name}s has {option!r}. "
                f"Drop it from {name}s, or pass the samples alone, signal.values."
            )


def _as_real_array(modality: Modality, value: Any) -> np.ndarray:
    name = modality.name
    try:
        values = np.ma.filled(value.astype(float), np.nan) if np.ma.isMA(value) else value
        values = np.asarray(values)
    except ValueError as error:
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


def _check_rate(modality: Modality, values: np.ndarray, rate: float | None) -> float:
    name = modality.name
    if values.ndim == 2:
        implied = values.shape[1] / EPOCH_SECONDS
        if rate is not None and not np.isclose(implied, rate):
            raise InvalidSignalError(
                f"{name!r} has {values.shape[1]} samples in each epoch of {EPOCH_SECONDS} s, which "
                f"is {implied:g} Hz, but rate {rate!r} was given. Drop the rate, or pass the "
                "samples of the whole night as shape (n_samples,)."
            )
        rate = implied
    rate = modality.conditioning.rate if rate is None else rate
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.number):
        raise InvalidSignalError(f"{name!r} has rate {rate!r}; accepted is a number in Hz.")
    if not (np.isfinite(rate) and rate > 0):
        accepted = "a positive, finite number of samples per second"
        raise InvalidSignalError(f"{name!r} has rate {rate!r} Hz; accepted is {accepted}.")
    return float(rate)


def _to_float32_if_exact(values: np.ndarray) -> np.ndarray:
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    with np.errstate(over="ignore"):
        single = native.astype(np.float32, copy=False)
    exact = single is native or np.array_equal(single, native, equal_nan=True)
    return single if exact else native
