# SPDX-License-Identifier: BSD-3-Clause
"""Files in the layouts of public data sets, with simulated contents."""

from __future__ import annotations

import struct

import edfio
import numpy as np
from scipy.io import savemat

NORMAL, APNEA, NOTE, RHYTHM = 1, 8, 22, 28


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def lines(*columns):
    return "".join(",".join(map(str, row)) + "\n" for row in zip(*columns, strict=True))


def word(kind, value):
    return struct.pack("<H", kind << 10 | value)


def skip(interval):
    return word(59, 0) + struct.pack("<HH", interval >> 16 & 0xFFFF, interval & 0xFFFF)


def text(raw):
    return word(63, len(raw)) + raw + b"\0" * (len(raw) % 2)


def annotation_bytes(annotations):
    """A file of (sample, type) or (sample, type, text), in order."""
    data, last = b"", 0
    for sample, kind, *note in annotations:
        data += skip(sample - last) + word(kind, 0)
        data += text(note[0].encode()) if note else b""
        last = sample
    return data + b"\0\0"


def beats_every(samples, stop, kind=NORMAL):
    return [(sample, kind) for sample in range(samples, stop, samples)]


def write_record(folder, name, line, annotations, comment=""):
    """A header, and annotation files by their suffixes."""
    write(folder / f"{name}.hea", f"{name} {line}\n{name}.dat 212\n{comment}")
    for suffix, values in annotations.items():
        (folder / f"{name}.{suffix}").write_bytes(annotation_bytes(values))


def write_edf(path, rates, start, seconds=180, patient=None, edf_patient=None, **options):
    """Noise in these channels; ``patient`` replaces the header's field as in plain EDF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    signals = [
        edfio.EdfSignal(
            rng.normal(0, 30, rate * seconds),
            rate,
            label=label,
            physical_dimension="%" if label.upper() in ("SPO2", "SAO2") else "uV",
            physical_range=(-500, 500),
        )
        for label, rate in rates.items()
    ]
    recording = edfio.Recording(startdate=start.date())
    options |= {"recording": recording, "patient": edf_patient}
    edfio.Edf(signals, starttime=start.time(), **options).write(path)
    if patient is not None:
        data = bytearray(path.read_bytes())
        data[8:88] = patient.ljust(80).encode()
        data[168:176] = start.strftime("%d.%m.%y").encode()
        path.write_bytes(data)


# 22:00 in New York, which is four hours behind UTC
_START, _UNIX = "2024-05-01 22:00:00", 1_714_615_200
BIDSLEEP_CODES = np.array([[5, 0, 1, 2, 3, 4, 4, 0]], dtype=np.uint8)


def write_bidsleep(folder, subject="Bidslab00", night=1, motion=True, start=_START, unix=_UNIX):
    """Four minutes; 75 beats per minute and movement in the second, 60 and none elsewhere."""
    night_folder = folder / subject / str(night)
    times = np.arange(-60, 300, 5)
    write(night_folder / "hr.csv", lines(times + unix + 0.5, np.where(times // 60 == 1, 75, 60)))
    if motion:
        times = np.arange(-60, 230, 0.02)
        z = 1 + np.where(times // 60 == 1, 0.5 * np.sin(2 * np.pi * times), 0.0)
        rows = lines((times + unix).round(3), 0 * times, 0 * times, z.round(4))
        write(night_folder / "motion.csv", "Timestamp,x,y,z\n" + rows)
    labels = {"expert_label": BIDSLEEP_CODES, "dreem_label": BIDSLEEP_CODES[:, ::-1]}
    savemat(night_folder / "labels.mat", {"recStart": start, **labels})
    return night_folder
