# SPDX-License-Identifier: BSD-3-Clause
"""Two stagers that others trained on real nights read simulated ones, and real ones by --data.

``python -m benchmarks.evaluation.judges [--seqsleepnet FILE] [--data DIR]``

Where both agree with the simulated scorer about as well as with a real one, and confuse the stages
that scorers confuse, simulated EEG, EOG and EMG carry the signs of the stages. The judges are
SeqSleepNet, which reads the EEG alone, and YASA (Vallat and Walker, eLife 10:e70092, 2021), which
is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.signal import resample_poly
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from sleep2vec_sklearn import Recording, load_checkpoint, make_sleep_cohort
from sleep2vec_sklearn.errors import ModalityWarning
from sleep2vec_sklearn.model import SeqSleepNet
from sleep2vec_sklearn.recordings import get_modality
from sleep2vec_sklearn.recordings.sources import to_canonical_unit

from .one_night import NIGHTS, OneNight

RATE = 100
STAGES = SeqSleepNet.stages
CHANNELS = ("eeg", "eog", "emg")
NIGHTS_PER_SEED = 3
REAL = ("SC4001", "DREAMS excerpt 1")

Judge = Callable[[Mapping[str, np.ndarray]], np.ndarray]


def main() -> None:
    """Print kappa and the confusion matrix of each judge on each set of nights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seqsleepnet", default="seqsleepnet", help="a file; else downloaded")
    parser.add_argument("--seeds", type=int, nargs="+", default=[20, 21, 22, 23])
    parser.add_argument("--data", type=Path, help="sleep-edfx/ and dreams/ as published")
    options = parser.parse_args()
    # a simulated EEG has no derivation; YASA's file is older than scikit-learn
    warnings.simplefilter("ignore", ModalityWarning)
    warnings.simplefilter("ignore", InconsistentVersionWarning)
    judges = {"SeqSleepNet": seqsleepnet(options.seqsleepnet)}
    if find_spec("yasa"):
        judges["YASA"] = yasa_stages
    else:
        print("YASA is left out: pip install yasa")
    sets = {f"simulated, seeds {options.seeds}": simulated_nights(options.seeds)}
    if options.data:
        sets |= {name: iter([NIGHTS[name](options.data)]) for name in REAL}
    for name, nights in sets.items():
        compare(name, nights, judges)


def compare(name: str, nights: Iterator[OneNight], judges: Mapping[str, Judge]) -> None:
    """Print what the judges make of these nights, pooled over epochs."""
    scored, found = [], {judge: [] for judge in judges}
    for night in nights:
        # judges read the night as a whole, and compare its epochs with each other
        span = slice(*np.flatnonzero(night.used)[[0, -1]] + (0, 1))
        used = night.used[span]
        channels = to_channels(night.recording, span)
        scored.append(night.recording.stages[span][used])
        for judge, stages in judges.items():
            found[judge].append(stages(channels)[used])
    y = np.concatenate(scored)
    for judge, answers in found.items():
        kappas = [cohen_kappa_score(*pair) for pair in zip(scored, answers, strict=True)]
        answer = np.concatenate(answers)
        table = pd.DataFrame(confusion_matrix(y, answer, labels=range(5)), STAGES, STAGES)
        table["share right"] = (np.diag(table) / table.sum(axis=1)).round(2)
        print(
            f"\n{judge}, {name}: kappa {cohen_kappa_score(y, answer):.2f} "
            f"(nights {min(kappas):.2f} to {max(kappas):.2f}); rows are scored\n{table}",
            flush=True,
        )


def simulated_nights(seeds: list[int]) -> Iterator[OneNight]:
    """Nights of polysomnography, each of another person, from three laboratories a seed."""
    for seed in seeds:
        yield from (
            OneNight(night, np.ones(night.n_epochs, dtype=bool))
            for night in make_sleep_cohort(
                NIGHTS_PER_SEED, n_sites=NIGHTS_PER_SEED, site_kinds="full_laboratory",
                modalities=CHANNELS, missing=0, random_state=seed,
            )
        )  # fmt: skip


def to_channels(recording: Recording, span: slice) -> dict[str, np.ndarray]:
    """EEG, EOG and EMG as far as they are there, in uV at 100 Hz."""
    channels = {}
    for name in set(CHANNELS) & set(recording.modalities):
        signal = recording.signal(name)
        values, rate = to_canonical_unit(
            signal.values, signal.rate, signal.unit, get_modality(name)
        )
        ratio = Fraction(RATE / rate).limit_denominator(1000)
        samples = resample_poly(values, ratio.numerator, ratio.denominator)
        epochs = samples[: recording.n_epochs * 30 * RATE].reshape(recording.n_epochs, -1)
        channels[name] = epochs[span].ravel().astype(np.float32)
    return channels


def seqsleepnet(file: str) -> Judge:
    network = load_checkpoint(file)

    def stage(channels: Mapping[str, np.ndarray]) -> np.ndarray:
        return network.predict_proba(Recording({"eeg": (channels["eeg"], RATE)})).argmax(axis=1)

    return stage


def yasa_stages(channels: Mapping[str, np.ndarray]) -> np.ndarray:
    import mne
    import yasa

    names = [name for name in CHANNELS if name in channels]
    samples = np.stack([channels[name] for name in names]).astype(float) * 1e-6
    raw = mne.io.RawArray(samples, mne.create_info(names, RATE, names), verbose="error")
    others = {f"{name}_name": name for name in names[1:]}
    stages = yasa.SleepStaging(raw, eeg_name="eeg", **others).predict().hypno
    return np.array([STAGES.index({"WAKE": "W", "REM": "R"}.get(s, s)) for s in stages])


if __name__ == "__main__":
    main()
