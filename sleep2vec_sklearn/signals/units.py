# SPDX-License-Identifier: BSD-3-Clause
"""Units: to the catalogue's, and a look at whether the stated one can be right."""

from __future__ import annotations

import numpy as np

from ..errors import InvalidSignalError
from .modality import Modality

__all__ = ["check_acceleration", "check_size", "to_canonical_unit"]

_MICROVOLTS = {"uV": 1.0, "mV": 1e3, "V": 1e6, "nV": 1e-3}


def to_canonical_unit(
    values: np.ndarray, rate: float, unit: str, modality: Modality, acceleration: bool = False
) -> tuple[np.ndarray, float]:
    """Convert samples to the catalogue's unit as float32.

    Counts are given per sample and become counts per second; acceleration (``"g"``) becomes
    counts by :func:`~sleep2vec_sklearn.signals.derivation.counts_from_acceleration`, unless it is
    ``acceleration`` that is wanted.

    Returns
    -------
    values : float32 ndarray
    rate : float
        Samples per second, changed only where acceleration becomes counts.
    """
    if acceleration:
        return values.astype(np.float32, copy=False), rate
    if modality.name == "actigraphy" and unit == "g":
        from .derivation import counts_from_acceleration

        return counts_from_acceleration(values, rate)
    values = values.astype(np.float32, copy=False)
    if modality.name == "ibi" and unit == "bpm":
        with np.errstate(divide="ignore"):
            return np.where(values > 0, np.float32(60) / values, np.float32(np.nan)), rate
    factor = {"ms": 1e-3, "fraction": 100.0}.get(unit, 1.0)
    if modality.unit == "uV":
        factor = _MICROVOLTS[unit]
    if modality.unit == "counts":
        factor = rate
    return (values if factor == 1.0 else values * np.float32(factor)), rate


def check_acceleration(unit: str) -> None:
    """Refuse counts where acceleration is wanted.

    Raises
    ------
    InvalidSignalError
        If the unit of actigraphy is another than g.
    """
    if unit != "g":
        raise InvalidSignalError(
            f"'actigraphy' is in {unit}, this checkpoint takes the vector magnitude of "
            "acceleration, which cannot be made from that. Give it with "
            "units={'actigraphy': 'g'}, or drop it with recording.without('actigraphy')."
        )


def check_size(iqr: float, modality: Modality) -> None:
    """Refuse a voltage whose size no electrode gives.

    Raises
    ------
    InvalidSignalError
        If the interquartile range of the night lies outside what the modality can show.
    """
    if modality.plausible is None:
        return
    low, high = modality.plausible
    if 0 < iqr < low or iqr > high:
        likely = _likely_unit(iqr, low, high)
        way_out = (
            f'It looks like {likely}: pass units={{"{modality.name}": "{likely}"}}.'
            if likely
            else f'Check the gain, or pass units={{"{modality.name}": ...}}, one of '
            f"{', '.join(modality.units)}."
        )
        raise InvalidSignalError(
            f"{modality.name!r} has an interquartile range of {iqr:.3g} {modality.unit}; accepted "
            f"is {low:g} to {high:g} {modality.unit}. {way_out}"
        )


def _likely_unit(iqr: float, low: float, high: float) -> str | None:
    fitting = [unit for unit in ("V", "mV", "nV") if low <= iqr * _MICROVOLTS[unit] <= high]
    return fitting[0] if fitting else None
