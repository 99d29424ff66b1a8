# SPDX-License-Identifier: BSD-3-Clause
"""Files of wearables, written from the public descriptions of their formats."""

from __future__ import annotations

import sqlite3
import struct
import zipfile
from contextlib import closing
from datetime import datetime, timedelta
from functools import reduce
from operator import xor

import numpy as np

START = datetime(2024, 5, 1, 22, 0)
_EPOCH = datetime(1970, 1, 1)
_TICKS_OF_1970 = 621_355_968_000_000_000


def seconds_of(moment):
    return (moment - _EPOCH).total_seconds()


def write_table(path, header, *columns):
    """A CSV whose times are given as datetimes or numbers."""
    rows = "".join(",".join(map(str, row)) + "\n" for row in zip(*columns, strict=True))
    path.write_text((header + "\n" if header else "") + rows, encoding="utf-8")
    return path


def clock_times(seconds, start=START, form="%Y-%m-%d %H:%M:%S"):
    return [(start + timedelta(seconds=float(s))).strftime(form) for s in seconds]


def wrist(seconds, rate, moving=(), seed=0):
    """Axes in g: still at 1 g with the noise of a wrist, and 1-Hz movement in these seconds."""
    rng = np.random.default_rng(seed)
    times = np.arange(int(seconds * rate)) / rate
    axes = rng.normal([0.0, 0.0, 1.0], 0.02, (len(times), 3))
    for first, last in moving:
        inside = (times >= first) & (times < last)
        axes[inside, 2] += 0.5 * np.sin(2 * np.pi * times[inside])
    return axes


def write_gt3x(path, axes, rate=30, start=START, scale=256):
    """ActiGraph's zip of info.txt and log.bin: y, x, z in 12 bits, a record for each second."""
    ticks = int(seconds_of(start) * 10_000_000) + _TICKS_OF_1970
    info = f"Serial Number: TAS1\nSample Rate: {rate}\nStart Date: {ticks}\n"
    # sample rate, and the scale as ActiGraph's own 32-bit float: 0.5 * 2 ** 9
    parameters = struct.pack("<HHI", 1, 10, rate) + struct.pack("<HHI", 0, 55, 0x09400000)
    log = _gt3x_record(21, int(seconds_of(start)), parameters)
    digits = np.round(axes[:, [1, 0, 2]] * scale).astype(int) & 0xFFF
    for i in range(len(axes) // rate):
        bits = "".join(f"{value:012b}" for value in digits[i * rate : (i + 1) * rate].ravel())
        bits += "0" * (-len(bits) % 8)
        payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
        log += _gt3x_record(0, int(seconds_of(start)) + i, payload)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("info.txt", info)
        archive.writestr("log.bin", log)
    return path


def _gt3x_record(kind, time, payload):
    record = struct.pack("<BBIH", 0x1E, kind, time, len(payload)) + payload
    return record + bytes([~reduce(xor, record) & 0xFF])


def write_cwa(path, axes, start=START):
    """Axivity's sectors of 512 bytes with 80 samples of three 16-bit axes, at 100 Hz."""
    header = bytearray(1024)
    header[:4] = b"MD" + struct.pack("<H", 1020)
    header[36] = 0x4A
    sectors = [bytes(header)]
    for i in range(len(axes) // 80):
        moment = start + timedelta(seconds=i * 0.8)
        samples = np.round(axes[i * 80 : (i + 1) * 80] * 256).astype("<i2").tobytes()
        fraction = int(moment.microsecond / 1e6 * 32768) | 0x8000
        stamp = (moment.year - 2000) << 26 | moment.month << 22 | moment.day << 17
        stamp |= moment.hour << 12 | moment.minute << 6 | moment.second
        # the whole second lies before the first sample by the fraction
        before = -int(((fraction & 0x7FFF) << 1) * 100 >> 16)
        head = struct.pack("<2sHHIIIHHBBBBhH", b"AX", 508, fraction, 0, i, stamp, 0, 0, 0, 0,
                           0x4A, 0x32, before, 80)  # fmt: skip
        sector = head + samples
        words = struct.unpack("<255H", sector)
        sectors.append(sector + struct.pack("<H", -sum(words) & 0xFFFF))
    path.write_bytes(b"".join(sectors))
    return path


def write_geneactiv(path, axes, start=START, rate=100):
    """GENEActiv's text: 59 lines of header, and pages of 300 samples as hexadecimal digits."""
    header = ["Device Identity", "Device Unique Serial Code:1", "Device Type:GENEActiv", ""]
    header += ["Calibration Data", "x gain:25600", "x offset:0", "y gain:25600", "y offset:0"]
    header += ["z gain:25600", "z offset:0", "Volts:1", "Lux:1", ""]
    header += ["Memory Status", f"Number of Pages:{len(axes) // 300}"]
    lines = header + [""] * (59 - len(header))
    digits = np.round(axes * 256).astype(int) & 0xFFF
    for i in range(len(axes) // 300):
        moment = start + timedelta(seconds=i * 300 / rate)
        lines += ["Recorded Data", "Device Unique Serial Code:1", f"Sequence Number:{i}"]
        lines += [f"Page Time:{moment:%Y-%m-%d %H:%M:%S}:{moment.microsecond // 1000:03d}"]
        lines += ["Unassigned:", "Temperature:30.0", "Battery voltage:4.0"]
        lines += ["Device Status:Recording", f"Measurement Frequency:{rate}.0"]
        lines += ["".join(f"{x:03X}{y:03X}{z:03X}000" for x, y, z in digits[i * 300 :][:300])]
    path.write_bytes("\r\n".join([*lines, ""]).encode())
    return path


def write_agd(path, counts, epoch=60, start=START, **settings):
    """ActiLife's SQLite database; counts have one to three axes."""
    counts = np.atleast_2d(np.asarray(counts).T).T.astype(int)
    axes = [f"axis{i + 1}" for i in range(counts.shape[1])]
    first = int(seconds_of(start)) * 10_000_000 + _TICKS_OF_1970
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE settings (settingName TEXT, settingValue TEXT)")
        settings |= {"epochlength": epoch, "subjectname": "Mustermann"}
        database.executemany("INSERT INTO settings VALUES (?, ?)", settings.items())
        columns = ", ".join(f"{name} INTEGER" for name in axes)
        database.execute(f"CREATE TABLE data (dataTimestamp INTEGER, {columns})")
        rows = [(first + i * epoch * 10_000_000, *row) for i, row in enumerate(counts.tolist())]
        marks = ", ".join("?" * (1 + len(axes)))
        database.executemany(f"INSERT INTO data VALUES ({marks})", rows)
        database.commit()
    return path


def health_record(kind, start, value, end=None):
    return (
        f' <Record type="{kind}" sourceName="Watch" unit="x" startDate="{start}" '
        f'endDate="{end or start}" value="{value}"/>\n'
    )


def write_health(path, records):
    """Apple Health's export.xml with its document type definition."""
    head = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE HealthData [\n<!ELEMENT HealthData '
    head += '(Record*)>\n<!ATTLIST HealthData locale CDATA #REQUIRED>\n]>\n<HealthData locale="de">'
    path.write_text(head + "\n" + "".join(records) + "</HealthData>\n", encoding="utf-8")
    return path
