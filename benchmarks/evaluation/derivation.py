# SPDX-License-Identifier: BSD-3-Clause
"""Derived inter-beat intervals and breathing compared with annotated ones.

``python -m benchmarks.evaluation.derivation --data DIR``

``DIR`` holds ``slpdb``, ``apnea-ecg`` and ``dreams`` as published; what is not there is left out.
Where the beats of a record are there and its ECG is not, an ECG is simulated around the real beats:
it tests the rules against real rhythms, not the detector against real waves. Series are compared at
4 Hz where both have a value; coverage is the share of the reference's time that the derived series
covers.

Format: https://physionet.org/physiotools/wag/signal-5.htm. A sample of format 212 has twelve bits,
two samples share three bytes; the signals of a file take turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from sleep2vec_sklearn import make_sleep_cohort
from sleep2vec_sklearn.datasets._files import BEAT_TYPES, read_annotations, read_header
from sleep2vec_sklearn.recordings.derivation import (
    ibi_from_beats,
    ibi_from_ecg,
    ibi_from_ppg,
    resp_from_breathing,
    resp_from_ecg,
)

from .scores import as_markdown

NEAR_SECONDS = 0.05
R_WAVE_SECONDS = 0.012
NOISE = 0.05
WINDOW = 4 * 60
BREATHING = (0.1, 0.6)
_BEATS = {"slpdb": (".ecg", 250.0), "apnea-ecg": (".qrs", 100.0)}


def main() -> None:
    """Print a table of inter-beat intervals and one of breathing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--nights", type=int, default=4, help="simulated nights")
    options = parser.parse_args()
    pairs = [*_annotated(options.data), *_excerpt(options.data), *_simulated(options.nights)]
    print(as_markdown(interval_table(pairs).round(3)))
    breaths = [*_excerpt_breaths(options.data), *_simulated_breaths(options.nights)]
    print(as_markdown(breathing_table(breaths).round(3)))


def interval_table(pairs) -> pd.DataFrame:
    """One row per kind of pair: (kind, derived series, reference series), both at 4 Hz."""
    rows: dict[str, list] = {}
    for kind, derived, reference in pairs:
        n = min(len(derived), len(reference))
        rows.setdefault(kind, []).append((derived[:n], reference[:n]))
    found = {
        kind: agreement(*map(np.concatenate, zip(*p, strict=True))) for kind, p in rows.items()
    }
    table = pd.DataFrame.from_dict(found, orient="index")
    table.insert(0, "records", [len(p) for p in rows.values()])
    return table


def agreement(derived: np.ndarray, reference: np.ndarray) -> dict[str, float]:
    """Median absolute error in ms, share within 50 ms, coverage, and hours compared."""
    known = np.isfinite(reference)
    both = known & np.isfinite(derived)
    error = np.abs(derived - reference)[both]
    return {
        "hours": both.sum() / 4 / 3600,
        "median error, ms": 1000 * float(np.median(error)) if error.size else np.nan,
        "within 50 ms": float((error <= NEAR_SECONDS).mean()) if error.size else np.nan,
        "coverage": both.sum() / max(known.sum(), 1),
    }


def simulated_ecg(beats: np.ndarray, rate: float, duration: float, seed: int = 0) -> np.ndarray:
    """Simulated R waves at given times in noise, of height 1."""
    rng = np.random.default_rng(seed)
    values = NOISE * rng.standard_normal(int(duration * rate)).astype(np.float32)
    reach = int(5 * R_WAVE_SECONDS * rate) + 1
    places = np.round(beats * rate).astype(int)[:, None] + np.arange(-reach, reach + 1)
    waves = np.exp(-0.5 * ((places / rate - beats[:, None]) / R_WAVE_SECONDS) ** 2)
    inside = (places >= 0) & (places < len(values))
    np.add.at(values, places[inside], waves[inside].astype(np.float32))
    return values


def _annotated(folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for name, (suffix, slow_rate) in _BEATS.items():
        for path in sorted((folder / name).glob(f"*{suffix}")):
            header_path = path.with_suffix(".hea")
            header, marks = read_header(header_path), read_annotations(path)
            beats = np.unique(marks.samples[np.isin(marks.types, BEAT_TYPES)]) / header.rate
            reference, _ = ibi_from_beats(beats, duration=header.duration)
            ecg, kind = read_signal(header_path, "ECG"), f"{name}, ECG"
            if ecg is None:
                ecg = simulated_ecg(beats, slow_rate, header.duration), slow_rate
                kind = f"{name}, simulated ECG around real beats"
            yield kind, ibi_from_ecg(*ecg)[0], reference


def _channels(folder: Path) -> dict[str, tuple[np.ndarray, float]]:
    import edfio

    path = folder / "dreams" / "excerpt3.edf"
    if not path.exists():
        return {}
    return {s.label: (s.data, s.sampling_frequency) for s in edfio.read_edf(path).signals}


def _excerpt(folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    channels = _channels(folder)
    if channels:
        pulse, ecg = ibi_from_ppg(*channels["PULSE"])[0], ibi_from_ecg(*channels["ECG"])[0]
        yield "dreams excerpt3 at 50 Hz, PPG against ECG", pulse, ecg


def _simulated(n: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for night in make_sleep_cohort(n, hours=8, random_state=0):
        signals = night.read()
        if "ibi" in signals:
            reference = signals["ibi"].values
            for source, derive in (("ecg", ibi_from_ecg), ("ppg", ibi_from_ppg)):
                if source in signals:
                    signal = signals[source]
                    kind = f"simulated nights, {source.upper()}"
                    yield kind, derive(signal.values, signal.rate)[0], reference


def breathing_table(pairs) -> pd.DataFrame:
    """One row per kind of (kind, derived, belt): breaths a minute in windows of one minute."""
    rows: dict[str, list] = {}
    for kind, derived, belt in pairs:
        n = min(len(derived), len(belt)) // WINDOW * WINDOW
        rates = [breaths_per_minute(series[:n]) for series in (derived, belt)]
        rows.setdefault(kind, []).append(np.abs(rates[0] - rates[1]))
    errors = {kind: np.concatenate(found) for kind, found in rows.items()}
    return pd.DataFrame(
        {
            "records": {kind: len(found) for kind, found in rows.items()},
            "minutes": {kind: int(np.isfinite(e).sum()) for kind, e in errors.items()},
            "median error, breaths/min": {k: float(np.nanmedian(e)) for k, e in errors.items()},
            "within 2 breaths/min": {
                kind: float((e[np.isfinite(e)] <= 2).mean()) for kind, e in errors.items()
            },
        }
    )


def breaths_per_minute(series: np.ndarray) -> np.ndarray:
    """Main frequency of each minute at 4 Hz, NaN where a sample is missing."""
    windows = series.reshape(-1, WINDOW).astype(float)
    tapered = (windows - windows.mean(axis=1, keepdims=True)) * np.hanning(WINDOW)
    spectrum = np.abs(np.fft.rfft(np.nan_to_num(tapered), 4 * WINDOW))
    frequencies = np.fft.rfftfreq(4 * WINDOW, 0.25)
    spectrum[:, (frequencies < BREATHING[0]) | (frequencies > BREATHING[1])] = 0
    main = 60 * frequencies[spectrum.argmax(axis=1)]
    return np.where(np.isfinite(windows).all(axis=1), main, np.nan)


def _excerpt_breaths(folder: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    channels = _channels(folder)
    if channels:
        belt = resp_from_breathing(*channels["VTH"])[0]
        derived = {"ECG": resp_from_ecg(*channels["ECG"])[0]}
        derived["airflow"] = resp_from_breathing(*channels["NAF1"])[0]
        derived["abdominal belt"] = resp_from_breathing(*channels["VAB"])[0]
        for source, series in derived.items():
            yield f"dreams excerpt3, {source} against the chest belt", series, belt


def _simulated_breaths(n: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    for night in make_sleep_cohort(n, hours=8, random_state=0):
        signals = night.read()
        if {"ecg", "effort"} <= set(signals):
            ecg, belt = signals["ecg"], signals["effort"]
            derived = resp_from_ecg(ecg.values, ecg.rate)[0]
            reference = resp_from_breathing(belt.values, belt.rate)[0]
            yield "simulated nights, ECG against the belt", derived, reference


_INVALID = {"212": -2048, "16": -32768}


def read_signal(header: Path, label: str) -> tuple[np.ndarray, float] | None:
    """Read the first signal whose description starts with ``label``."""
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


if __name__ == "__main__":
    main()
