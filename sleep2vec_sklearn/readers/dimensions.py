# SPDX-License-Identifier: BSD-3-Clause
"""Physical dimensions as files spell them, in the catalogue's spelling."""

from __future__ import annotations

from ..signals import get_modality

__all__ = ["VOLTAGES", "parse_dimension"]

VOLTAGES = {"V": 1.0, "mV": 1e-3, "uV": 1e-6, "nV": 1e-9}

_SPELLINGS = {
    **dict.fromkeys(("uv", "µv", "μv", "âµv", "microv", "microvolt", "microvolts", "uvolt"), "uV"),
    **dict.fromkeys(("mv", "millivolt", "millivolts"), "mV"),
    **dict.fromkeys(("v", "volt", "volts"), "V"),
    **dict.fromkeys(("nv", "nanovolt"), "nV"),
    **dict.fromkeys(("%", "percent", "prozent", "pct", "%sao2", "%spo2"), "%"),
    **dict.fromkeys(("s", "sec", "second", "seconds"), "s"),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), "ms"),
    **dict.fromkeys(("bpm", "1/min", "beats/min"), "bpm"),
    **dict.fromkeys(("counts", "count", "cnt", "cnts"), "counts"),
    **dict.fromkeys(("l/min", "lpm"), "L/min"),
    **dict.fromkeys(("l/s", "l/sec"), "L/s"),
    **dict.fromkeys(("ml/s", "ml/sec"), "mL/s"),
    **dict.fromkeys(("cmh2o", "cmh20"), "cmH2O"),
    "mmhg": "mmHg",
    "g": "g",
    "fraction": "fraction",
    "a.u.": "a.u.",
}


def parse_dimension(dimension: str, modality: str) -> tuple[str, str | None]:
    """Map a header's physical dimension to a unit the modality accepts.

    Parameters
    ----------
    dimension : str
        As the file has it, e.g. ``"uV"``, ``"µV"``, ``"MV"`` or nothing.
    modality : str
        Catalogue name.

    Returns
    -------
    unit : str
        The unit, or the catalogue's where the dimension is empty or unusable.
    note : str or None
        What was assumed, if it matters: units of airflow, effort and ppg are arbitrary anyway.
    """
    known = get_modality(modality)
    text = dimension.strip()
    unit = _SPELLINGS.get(text.lower().replace(" ", ""))
    if unit in known.units:
        return unit, None
    if known.unit == "a.u.":
        return known.unit, None
    stated = f"states the unit {text!r}" if text else "states no unit"
    return known.unit, f"{stated}; taken as {known.unit}"
