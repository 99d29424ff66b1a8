# SPDX-License-Identifier: BSD-3-Clause
"""One signal of a PhysioNet record: formats 212 and 16, which slpdb and apnea-ecg have.

Format: https://physionet.org/physiotools/wag/signal-5.htm. A sample of format 212 has twelve bits,
two samples share three bytes; the signals of a file take turns.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

__all__ = ["read_signal"]

_INVALID = {"212": -2048, "16": -32768}


def read_signal(header: Path, label: str) -> tuple[np.ndarray, float] | None:
    """Read the first signal whose description starts with ``label``.

    Parameters
    ----------
    header : Path
        The record's ``.hea``.
    label : str
        As in ``"ECG"``.

    Returns
    -------
    (float32 ndarray of shape (n_samples,), float) or None
        Samples in the converter's units, NaN where it gave none, and samples per second; None if
        the record has no such signal or its file is not here.

    Raises
    ------
    ValueError
        If the file is of another format.
    """
    lines = [line for line in header.read_text(encoding="latin-1").splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("#")]
    rate = float(lines[0].split()[2].split("/")[0].split("(")[0])
    signals = [line.split(maxsplit=8) for line in lines[1:]]
    described = [fields[8] if len(fields) > 8 else "" for fields in signals]
    place = next((i for i, text in enumerate(described) if text.upper().startswith(label)), None)
    if place is None:
        return None
    file_name, code = signals[place][:2]
    path = header.with_name(file_name)
    if not path.exists():
        return None
    if code not in _INVALID:
        raise ValueError(f"{header}: format {code!r}; accepted are {', '.join(_INVALID)}.")
    together = [i for i, fields in enumerate(signals) if fields[0] == file_name]
    data = np.fromfile(path, dtype=np.uint8)
    samples = _unpack_212(data) if code == "212" else data[: len(data) // 2 * 2].view("<i2")
    samples = samples[together.index(place) :: len(together)]
    values = samples.astype(np.float32)
    values[samples == _INVALID[code]] = np.nan
    return values, rate


def _unpack_212(data: np.ndarray) -> np.ndarray:
    triples = data[: len(data) // 3 * 3].reshape(-1, 3).astype(np.int16)
    pairs = np.empty((len(triples), 2), dtype=np.int16)
    pairs[:, 0] = triples[:, 0] | (triples[:, 1] & 0x0F) << 8
    pairs[:, 1] = triples[:, 2] | (triples[:, 1] & 0xF0) << 4
    flat = pairs.reshape(-1)
    return np.where(flat >= 2048, flat - 4096, flat)
