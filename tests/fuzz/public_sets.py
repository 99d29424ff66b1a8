# SPDX-License-Identifier: BSD-3-Clause
"""Folders of public data sets, one file of which is damaged."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from sleep2vec_sklearn import datasets
from tests.datasets.files import (
    APNEA,
    NOTE,
    beats_every,
    lines,
    write,
    write_bidsleep,
    write_edf,
    write_record,
)
from tests.fuzz.mutators import BYTES, TEXT, damage
from tests.fuzz.targets import Target

BINARY = (".npz", ".mat", ".rec", ".edf", ".qrs", ".apn", ".ecg", ".st")
DETAILS = (
    "Study Number,Age,Gender,BMI,PSG AHI,Epworth Sleepiness Score,PSG Start Time\n"
    "UCDDB002,54,M,33.9,23,16,23:59:30\n"
)
EVENTS = (
    " Time       Type   PB/CS  Duration  Low    %Drop                 Rate  Change\n"
    "00:00:30  HYP-C             16       89.9    4.1     -     -      64.7   -5.7 \n"
)


def make_corpus(folder):
    apnea, slpdb, mmash = folder / "apnea_ecg", folder / "slpdb", folder / "mmash"
    for path in (apnea, slpdb, mmash):
        path.mkdir(parents=True)
    beats = {"qrs": beats_every(100, 18_000), "apn": ((0, APNEA), (6000, APNEA))}
    write_record(apnea, "a01", "1 100 18000", beats)
    write(
        apnea / "additional-information.txt", "Record\n a01  490 20 470 9 12 57 69 51 M 175 102\n"
    )
    scoring = {"ecg": beats_every(250, 45_000), "st": ((0, NOTE, "W"), (7500, NOTE, "2 HA"))}
    write_record(slpdb, "slp04", "1 250 45000", scoring, "# 44 M 89 32-01-89\n")
    seconds = 80_000 + np.arange(300)
    clock = [f"{s // 3600 % 24:02d}:{s // 60 % 60:02d}:{s % 60:02d}" for s in seconds]
    for name, column, value in (("RR", "ibi_s", 1), ("Actigraph", "Vector Magnitude", 7)):
        rows = "".join(f"{i},{value},1,{text}\n" for i, text in enumerate(clock))
        write(mmash / "user_3" / f"{name}.csv", f",{column},day,time\n{rows}")
    head = ",In Bed Date,In Bed Time,Out Bed Date,Out Bed Time,Total Sleep Time (TST)\n"
    write(mmash / "user_3" / "sleep.csv", f"{head}0,1,22:14,1,22:16,2\n")
    write(mmash / "user_3" / "user_info.csv", ",Gender,Weight,Height,Age\n0,M,65,169,30\n")
    write_bidsleep(folder / "bidsleep", motion=False)
    accel = folder / "sleep_accel"
    write(accel / "labels" / "5_labeled_sleep.txt", "".join(f"{30 * i} 2\n" for i in range(8)))
    write(accel / "heart_rate" / "5_heartrate.txt", lines(range(0, 240, 5), [60] * 48))
    dreams = folder / "dreams"
    write(dreams / "Hypnogram_excerpt3.txt", "[Hypnogram]\n" + "2\n" * 30)
    write(dreams / "excerpt3.txt", "[C3-A1]\n" + "1.5\n2.5\n-3\n" * 500)
    write(dreams / "Visual_scoring1_excerpt3.txt", "[spindles]\n   12.5   0.75\n")
    ucddb = folder / "ucddb"
    start = datetime(2002, 9, 3, 23, 59, 30)
    write_edf(ucddb / "ucddb002.edf", {"C3A2": 128, "SpO2": 8}, start)
    (ucddb / "ucddb002.edf").rename(ucddb / "ucddb002.rec")
    write(ucddb / "ucddb002_stage.txt", "0\n1\n2\n5\n6\n7\n")
    write(ucddb / "ucddb002_respevt.txt", EVENTS)
    write(ucddb / "SubjectDetails.csv", DETAILS)
    return sorted(folder.iterdir())


def mutate(rng, path):
    files = sorted(file for file in path.rglob("*") if file.is_file())
    file = files[int(rng.integers(len(files)))]
    damage(rng, file, BYTES if file.suffix in BINARY else TEXT)


def check(path):
    for night in getattr(datasets, f"load_{path.name}")(path):
        night.read()
    return []


TARGET = Target(make_corpus, mutate, check, n_slice=25)
