# SPDX-License-Identifier: BSD-3-Clause
"""EDF, EDF+ and BDF files, against a reader written from the specification alone.

Kemp et al. 1992, https://doi.org/10.1016/0013-4694(92)90009-7; Kemp and Olivan 2003,
https://www.edfplus.info/specs/edfplus.html.
"""

from __future__ import annotations

import re

import numpy as np

from sleep2vec_sklearn import describe_channels, read_recording
from sleep2vec_sklearn.readers import EdfSource
from tests.fuzz.mutators import BYTES, NUMBERS, TEXTS, damage
from tests.fuzz.targets import Target

WIDTHS = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)
FIXED = ((0, 8), (8, 80), (88, 80), (168, 8), (176, 8), (184, 8), (192, 44), (236, 8), (244, 8),
         (252, 4))  # fmt: skip
ANNOTATIONS = ("EDF Annotations", "BDF Annotations")
EVENTS = "\x14\x00".join(f"+{30 * i}\x1530\x14Sleep stage {s}" for i, s in enumerate("W12"))


def write(path, signals, *, n_records=90, seconds=1, reserved="", onsets=None, bits=16, seed=0,
          notes=""):  # fmt: skip
    """An EDF file of (label, samples per record, dimension); noise of the simulators' size."""
    rng = np.random.default_rng(seed)
    limit = 1 << (bits - 1)

    def field(text, width):
        return str(text).encode("latin-1").ljust(width)[:width]

    version = b"\xffBIOSEMI" if bits == 24 else field("0", 8)
    head = [version, field("X F X X", 80), field("Startdate 01-JAN-2020 X X X", 80)]
    head += [field("01.01.20", 8), field("22.00.00", 8), field(256 * (len(signals) + 1), 8)]
    head += [field(reserved, 44), field(n_records, 8), field(seconds, 8), field(len(signals), 4)]
    columns = [
        [label for label, *_ in signals], [""] * len(signals), [unit for *_, unit in signals],
        [-500] * len(signals), [500] * len(signals), [-limit] * len(signals),
        [limit - 1] * len(signals), [""] * len(signals), [n for _, n, _ in signals],
        [""] * len(signals),
    ]  # fmt: skip
    head += [field(cell, width) for column, width in zip(columns, WIDTHS, strict=True)
             for cell in column]  # fmt: skip
    size = bits // 8
    body = []
    for record in range(n_records):
        for label, n, _ in signals:
            if label in ANNOTATIONS:
                onset = record * seconds if onsets is None else onsets[record]
                text = f"+{onset}\x14\x14\x00" + (
                    notes + "\x14\x00" if notes and not record else ""
                )
                body.append(text.encode().ljust(size * n, b"\0")[: size * n])
            else:
                digital = (rng.normal(size=n) * limit / 15).astype("<i4")
                body.append(digital.reshape(-1, 1).view(np.uint8)[:, :size].tobytes())
    path.write_bytes(b"".join(head + body))
    return path


def make_corpus(folder):
    folder.mkdir(parents=True)
    psg = [("EEG C3", 100, "uV"), ("A2", 100, "uV"), ("SaO2", 1, "%"), ("ECG", 128, "mV")]
    notes = ("EDF Annotations", 60, "")
    gap = [*range(40), *range(100, 150)]
    write(folder / "plain.edf", psg)
    write(folder / "long.edf", [("EEG C4-M1", 3000, "uV"), ("Resp", 300, "")], n_records=4,
          seconds=30)  # fmt: skip
    write(folder / "plus.edf", [*psg, notes], reserved="EDF+C", notes=EVENTS)
    write(folder / "first.edf", [notes, *psg[:3]], reserved="EDF+C", notes=EVENTS)
    write(folder / "gaps.edf", [*psg[:3], notes], reserved="EDF+D", onsets=gap, notes=EVENTS)
    write(folder / "twice.edf", [psg[0], psg[0], psg[2], psg[2]])
    bdf = ("BDF Annotations", 40, "")
    write(folder / "night.bdf", [*psg, bdf], reserved="BDF+C", bits=24, notes=EVENTS)
    return sorted(folder.iterdir())


def mutate(rng, path):
    """Replace fields of the header, move signals, or damage any byte."""
    data = bytearray(path.read_bytes())
    n = int(data[252:256])
    for _ in range(int(rng.integers(1, 4))):
        kind = rng.random()
        if kind < 0.65:
            if rng.random() < 0.4:
                first, width = FIXED[int(rng.integers(len(FIXED)))]
            else:
                column, signal = int(rng.integers(len(WIDTHS))), int(rng.integers(n))
                width = WIDTHS[column]
                first = 256 + n * sum(WIDTHS[:column]) + signal * width
            data[first : first + width] = _new_field(rng, bytes(data[first : first + width]))
        elif kind < 0.75:
            # a field of one signal in place of another's
            column, (a, b) = int(rng.integers(len(WIDTHS))), rng.integers(0, n, 2).tolist()
            width, base = WIDTHS[column], 256 + n * sum(WIDTHS[:column])
            a, b = base + a * width, base + b * width
            data[a : a + width], data[b : b + width] = data[b : b + width], data[a : a + width]
        elif kind < 0.85:
            stamps = [match.span() for match in re.finditer(rb"[+-]\d+", data[256 * (n + 1) :])]
            if stamps:
                first, _ = stamps[int(rng.integers(len(stamps)))]
                new = b"+" + NUMBERS[int(rng.integers(len(NUMBERS)))][:40]
                first += 256 * (n + 1)
                data[first : first + len(new)] = new
    path.write_bytes(data)
    if rng.random() < 0.3:
        damage(rng, path, BYTES)


def _new_field(rng, old):
    kind = int(rng.integers(6))
    if kind == 0:
        new = TEXTS[int(rng.integers(len(TEXTS)))]
    elif kind == 1 and old.strip().isdigit():
        new = str(int(old) + int(rng.integers(-3, 4))).encode()
    elif kind == 2:
        new = bytearray(old)
        new[int(rng.integers(len(old)))] = int(rng.integers(256))
    else:
        new = NUMBERS[int(rng.integers(len(NUMBERS)))]
    return bytes(new).ljust(len(old))[: len(old)]


def read_independently(path):
    """Records, labels and signals in physical units by the specification; None for no scale."""
    raw = path.read_bytes()
    n = int(raw[252:256])
    size = 3 if raw[:1] == b"\xff" else 2
    columns, first = [], 256
    for width in WIDTHS:
        columns.append([raw[first + i * width : first + (i + 1) * width] for i in range(n)])
        first += n * width
    labels = [cell.decode("latin-1").strip("\0 ") for cell in columns[0]]
    low, high, least, most = ([_number(cell) for cell in column] for column in columns[3:7])
    counts = [int(cell) for cell in columns[8]]
    n_records = (len(raw) - first) // (size * sum(counts))
    signals, begin = [], 0
    for i in range(n):
        if labels[i] not in ANNOTATIONS:
            parts = [
                raw[first + size * (record * sum(counts) + begin) :][: size * counts[i]]
                for record in range(n_records)
            ]
            signals.append((labels[i], _scale(parts, size, low[i], high[i], least[i], most[i])))
        begin += counts[i]
    return n_records, signals


def _number(cell):
    return float(cell.decode("latin-1").replace(",", "."))


def _scale(parts, size, low, high, least, most):
    if size == 2:
        digital = np.frombuffer(b"".join(parts), "<i2").astype(float)
    else:
        bytes_ = np.frombuffer(b"".join(parts), np.uint8).reshape(-1, 3).astype(np.int64)
        digital = bytes_ @ [1, 256, 65536]
        digital = np.where(digital >= 1 << 23, digital - (1 << 24), digital).astype(float)
    with np.errstate(all="ignore"):
        return low + (digital - least) * (high - low) / (most - least)


def check(path):
    describe_channels(path)
    night = read_recording(path)
    night.read()
    night.coverage()
    source = EdfSource(path)
    n_records, expected = read_independently(path)
    declared = int(path.read_bytes()[236:244])
    differences = [] if declared == n_records or source.notes else [f"{declared} records, silently"]
    factor = {"uV": 1.0, "mV": 1e3, "V": 1e6, "nV": 1e-3}
    for name, derivation in source.montage.derivations.items():
        read = source.read_derivation(name, 0).values
        label, values = expected[derivation.channel.index]
        if derivation.reference is not None:
            other, subtracted = expected[derivation.reference.index]
            label += f" - {other}"
            values = values - subtracted * derivation.reference_factor
        if label != derivation.label:
            differences.append(f"{derivation.label!r} is {label!r}")
        if len(read) != len(values):
            # gaps by time stamps, which are noted, are NaN
            if not any(note.startswith("discontinuous") for note in source.notes):
                differences.append(f"{label!r} has {len(read)} samples, not {len(values)}")
            read = read[~np.isnan(read)]
        size = np.abs(values).max(initial=0)
        if read.shape != values.shape or not np.allclose(read, values, 1e-4, 1e-5 * size):
            differences.append(f"{label!r} differs")
        if derivation.unit in factor and night.units.get(name) != derivation.unit:
            differences.append(f"{name} is in {night.units.get(name)}, not {derivation.unit}")
    return differences


TARGET = Target(make_corpus, mutate, check, n_full=5000, n_slice=60)
