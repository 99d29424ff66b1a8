# SPDX-License-Identifier: BSD-3-Clause
"""BrainVision, FIF and EEGLAB files, which MNE-Python reads."""

from __future__ import annotations

import mne
import numpy as np
from scipy.io import savemat

from sleep2vec_sklearn import describe_channels, read_recording
from tests.fuzz.mutators import BYTES, TEXT, damage
from tests.fuzz.targets import Target

HEADER = """Brain Vision Data Exchange Header File Version 1.0
[Common Infos]
Codepage=UTF-8
DataFile=vision.eeg
MarkerFile=vision.vmrk
DataFormat=BINARY
DataOrientation=MULTIPLEXED
NumberOfChannels=2
SamplingInterval=10000
[Binary Infos]
BinaryFormat=INT_16
[Channel Infos]
Ch1=C3,,0.1,uV
Ch2=ECG,,0.1,uV
"""
MARKERS = """Brain Vision Data Exchange Marker File, Version 1.0
[Common Infos]
Codepage=UTF-8
DataFile=vision.eeg
[Marker Infos]
Mk1=New Segment,,1,1,0,20200101220000000000
Mk2=Stimulus,Sleep stage W,1,3000,0
"""


def make_corpus(folder):
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 200, (6000, 2))
    (folder / "vision.eeg").write_bytes(samples.astype("<i2").tobytes())
    (folder / "vision.vhdr").write_text(HEADER, encoding="utf-8")
    (folder / "vision.vmrk").write_text(MARKERS, encoding="utf-8")
    info = mne.create_info(["C3-M2", "SpO2"], 100.0, ["eeg", "misc"])
    raw = mne.io.RawArray(samples.T * 1e-6, info, verbose="error")
    raw.set_annotations(mne.Annotations([0, 30], [30, 30], ["Sleep stage W", "Sleep stage N2"]))
    raw.save(folder / "night_raw.fif", verbose="error")
    places = np.array([(n,) for n in ("C3-M2", "ECG")], dtype=[("labels", "O")])
    eeg = {"setname": "night", "nbchan": 2.0, "trials": 1.0, "pnts": 6000.0, "srate": 100.0,
           "xmin": 0.0, "xmax": 59.99, "data": samples.T.astype("f4"), "chanlocs": places,
           "event": np.zeros(0), "epoch": np.zeros(0), "icawinv": np.zeros(0),
           "times": np.zeros(0), "ref": "common"}  # fmt: skip
    savemat(folder / "lab.set", {"EEG": eeg}, do_compression=True)
    return [folder / "vision.vhdr", folder / "vision.vhdr", folder / "night_raw.fif",
            folder / "lab.set"]  # fmt: skip


def mutate(rng, path):
    if path.suffix == ".vhdr":
        path = path.with_suffix(".vmrk") if rng.random() < 0.25 else path
        damage(rng, path, TEXT)
    else:
        damage(rng, path, BYTES)


def check(path):
    describe_channels(path)
    read_recording(path).read()
    return []


TARGET = Target(make_corpus, mutate, check, n_slice=15)
