# SPDX-License-Identifier: BSD-3-Clause
"""Files of wearables: tables, the export of Apple Health, ActiGraph's databases."""

from __future__ import annotations

import numpy as np

from sleep2vec_sklearn import describe_channels, read_recording
from sleep2vec_sklearn.readers import split_nights
from tests.fuzz.mutators import BYTES, TEXT, damage
from tests.fuzz.targets import Target
from tests.readers.wearable_files import (
    clock_times,
    wrist,
    write_agd,
    write_table,
)

SECONDS = 300


def make_corpus(folder):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    seconds = np.arange(SECONDS)
    rates = rng.integers(50, 70, SECONDS)
    axes = wrist(SECONDS, 20)
    write_table(folder / "hr.csv", "Time,Heart rate (bpm)", clock_times(seconds), rates)
    write_table(folder / "unix.csv", "timestamp,hr,spo2", 1_700_000_000 + seconds, rates,
                rng.integers(92, 98, SECONDS))  # fmt: skip
    write_table(folder / "rr.csv", "rr_ms", rng.integers(800, 1100, SECONDS))
    write_table(folder / "acc.csv", "time,x,y,z", np.arange(len(axes)) / 20, *axes.T.round(4))
    write_agd(folder / "counts.agd", rng.integers(0, 90, (40, 3)))
    records = "".join(
        '<Record type="HKQuantityTypeIdentifierHeartRate" '
        f'startDate="2024-05-01 22:{i // 60:02}:{i % 60:02} +0200" '
        f'endDate="2024-05-01 22:{i // 60:02}:{i % 60:02} +0200" value="{rate}"/>\n'
        for i, rate in enumerate(rates)
    )
    sleep = (
        '<Record type="HKCategoryTypeIdentifierSleepAnalysis" startDate="2024-05-01 22:00:00 '
        '+0200" endDate="2024-05-01 22:04:00 +0200" value="HKCategoryValueSleepAnalysisInBed"/>'
    )
    (folder / "export.xml").write_text(
        f'<?xml version="1.0"?>\n<HealthData locale="de">\n{records}{sleep}</HealthData>\n',
        encoding="utf-8",
    )
    return sorted(folder.iterdir())


def mutate(rng, path):
    damage(rng, path, TEXT if path.suffix in (".csv", ".xml") else BYTES)


def check(path):
    describe_channels(path)
    night = read_recording(path)
    night.read()
    if night.start is not None:
        split_nights(night, min_hours=0.01)
    return []


TARGET = Target(make_corpus, mutate, check)
