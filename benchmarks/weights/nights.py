# SPDX-License-Identifier: BSD-3-Clause
"""The nights that ``sleep2vec-mini`` is trained on, and probabilities of their stages.

``python -m benchmarks.weights.nights --data DIR [--work DIR --teacher FILE]`` counts them, and
computes the probabilities. Every real source is a function of the folder ``--data``; a source
without files has no nights. All are on PhysioNet (physionet.org/content/NAME):

=====================================  ==================================================
folders in ``--data``                  files
=====================================  ==================================================
``mmash``                              as published
``nsr2db``, ``chf2db``                 beat annotations ``.ecg`` as published
``rr-interval-healthy-subjects``       ``.txt`` of intervals in ms as published
``rr24h``                              or intervals of these three, an ``.npz`` per record
``apnea-ecg`` or ``apnea-ecg-x``       ``xNN.qrs``, ``xNN.hea`` as published
``bidmc``                              ``.hea`` and ``.dat`` as published
``ucddb`` or ``ucddb_partial``         as published, or an ``.npz`` per night
=====================================  ==================================================

The bundled encoder was trained on partial copies: of 9 of the 147 healthy subjects, and in ucddb of
the epochs scored as wake or N3.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import joblib
import numpy as np
import torch

from sleep2vec_sklearn import load_checkpoint, make_sleep_cohort
from sleep2vec_sklearn.datasets import load_mmash, load_ucddb
from sleep2vec_sklearn.datasets._files import (
    BEAT_TYPES,
    read_annotations,
    read_header,
    record_from_beats,
)
from sleep2vec_sklearn.model import SeqSleepNet
from sleep2vec_sklearn.model.external.seqsleepnet import _CONDITIONING as EEG_CONDITIONING
from sleep2vec_sklearn.model.external.seqsleepnet import _over_windows, log_power, normalise
from sleep2vec_sklearn.recordings import EPOCH_SECONDS, MODALITIES, Recording
from sleep2vec_sklearn.recordings._conditioning import read_conditioned
from sleep2vec_sklearn.recordings._night_window import find_window
from sleep2vec_sklearn.recordings.derivation import (
    ibi_from_ecg,
    ibi_from_heart_rate,
    ibi_from_intervals,
    resp_from_breathing,
)

SITE_KINDS = ("full_laboratory", "watch_laboratory", "watch_laboratory", "laboratory", "wearable")
SEED = 20260214
WATCH_SECONDS = 5
BEAT_CLOCK = 128
# the other test records of Apnea-ECG are of subjects of its learning set, by the published table
NEW_SUBJECTS = ("x02", "x06+x24", "x09+x23", "x10", "x13+x26", "x17+x22", "x31+x32")
REAL_SHARE = 0.4
SHARES = {
    "mmash": 3.0, "mmash_watch": 3.0, "rr24h": 2.0, "rr24h_watch": 2.0, "apnea-ecg-x": 0.5,
    "bidmc": 0.5, "ucddb": 2.0,
}  # fmt: skip
SMOOTHING = 0.1
SHORTEST_RUN = 10


def simulated_nights(n_subjects: int) -> list[Recording]:
    """One simulated night each, from twenty sites of four kinds."""
    return make_sleep_cohort(
        n_subjects, n_sites=20, site_kinds=SITE_KINDS, missing=0.1, random_state=SEED
    )


def real_nights(data: Path) -> dict[str, list[Recording]]:
    """Real recordings by source, of the sources that have files."""
    groups = {name: load(data) for name, load in LOADERS.items()}
    for name in ("mmash", "rr24h"):
        groups[name] = [night_of(day) for day in groups[name]]
    for name in ("mmash", "rr24h"):
        groups[f"{name}_watch"] = [as_watch(night) for night in groups[name]]
    return {name: nights for name, nights in groups.items() if nights}


def night_of(day: Recording) -> Recording:
    """The sleep-like stretch of a day with half an hour on either side, found in its signals."""
    signals = day.read()
    start, stop = find_window(day, signals)
    cut = {}
    for name, signal in signals.items():
        first, last = (round(epoch * EPOCH_SECONDS * signal.rate) for epoch in (start, stop))
        cut[name] = (signal.values[first:last], signal.rate)
    duration = float((stop - start) * EPOCH_SECONDS)
    return Recording(cut, subject=day.subject, duration=duration, id=day.id)


def mmash(data: Path) -> list[Recording]:
    """Days with beats and wrist counts of healthy men."""
    return [*load_mmash(data / "mmash")] if (data / "mmash").is_dir() else []


def rr24h(data: Path) -> list[Recording]:
    """Days with beats alone, of normal adults and of patients with heart failure."""
    intervals = {}
    for path in data.glob("rr24h/*.npz"):
        with np.load(path) as record:
            unit = 1e-3 if record["unit"] == "ms" else 1 / BEAT_CLOCK
            intervals[path.stem] = record["rr"][int(record["first_is_offset"]) :] * unit
    for path in (*data.glob("nsr2db/*.ecg"), *data.glob("chf2db/*.ecg")):
        beats = read_annotations(path)
        samples = np.unique(beats.samples[np.isin(beats.types, BEAT_TYPES)])
        intervals[f"{path.parent.name}_{path.stem}"] = np.diff(samples) / BEAT_CLOCK
    for path in data.glob("rr-interval-healthy-subjects/*.txt"):
        numbers = np.genfromtxt(path) / 1000
        intervals[f"{path.parent.name}_{path.stem}"] = numbers[numbers > 0]
    return [
        Recording(
            {"ibi": ibi_from_intervals(np.cumsum(rr), rr, max_gap=3.0)}, subject=name, id=name
        )
        for name, rr in sorted(intervals.items())
    ]


def apnea_ecg_x(data: Path) -> list[Recording]:
    """Beats of the test records of Apnea-ECG, of subjects who are not in its learning set."""
    folder = data / ("apnea-ecg-x" if (data / "apnea-ecg-x").is_dir() else "apnea-ecg")
    paths = {folder / name: subject for subject in NEW_SUBJECTS for name in subject.split("+")}
    return [
        record_from_beats(
            path, ".qrs", read_header(path.with_suffix(".hea")), subject=f"apnea-ecg-{subject}"
        )
        for path, subject in paths.items()
        if path.with_suffix(".qrs").exists()
    ]


def bidmc(data: Path) -> list[Recording]:
    """Eight minutes each of ECG, PPG, impedance and saturation, of intensive-care patients."""
    return [_read_bidmc(path) for path in sorted(data.glob("bidmc/bidmc[0-9][0-9].hea"))]


def _read_bidmc(path: Path) -> Recording:
    waves, numerics = _read_signals(path), _read_signals(path.with_name(f"{path.stem}n.hea"))
    ecg, rate = waves["II"]
    person = re.search(r"matched/(s\d+)", path.read_text(encoding="latin-1"))
    return Recording(
        {
            "ecg": (ecg, rate),
            "ppg": waves["PLETH"],
            "resp": resp_from_breathing(*waves["RESP"]),
            "spo2": numerics["SpO2"],
            "ibi": ibi_from_ecg(ecg, rate),
        },
        units={"ecg": "mV"},
        subject=f"bidmc-{person[1]}",
        duration=len(ecg) / rate,
        id=path.stem,
    )


def _read_signals(header: Path) -> dict[str, tuple[np.ndarray, float]]:
    """Signals of a WFDB record in format 16, in physical units, and their rate."""
    first, *lines = header.read_text(encoding="latin-1").splitlines()
    n_signals, rate = int(first.split()[1]), float(first.split()[2])
    samples = np.fromfile(header.with_suffix(".dat"), dtype="<i2").reshape(-1, n_signals)
    signals = {}
    for line, column in zip(lines, samples.T, strict=False):
        form, scale, name = re.fullmatch(r"\S+ (\d+) (\S+)(?: \S+){5} (\w+), *", line).groups()
        if form != "16":
            raise ValueError(f"{header} has format {form}; accepted is 16, as published.")
        gain, baseline = re.match(r"([^(]+)\((-?\d+)\)", scale).groups()
        values = (column.astype(np.float32) - int(baseline)) / float(gain)
        signals[name] = np.where(column == -(2**15), np.nan, values), rate
    return signals


def ucddb(data: Path) -> list[Recording]:
    """The EEG of nights with suspected apnea, without their stages."""
    folder = data / ("ucddb" if (data / "ucddb").is_dir() else "ucddb_partial")
    return [_eeg_alone(night) for night in load_ucddb(folder)] if folder.is_dir() else []


def _eeg_alone(night: Recording) -> Recording:
    night = copy.copy(night.without(*(n for n in night.modalities if n != "eeg")))
    night.stages = night.events = None
    return night


LOADERS: dict[str, Callable[[Path], list[Recording]]] = {
    "mmash": mmash, "rr24h": rr24h, "apnea-ecg-x": apnea_ecg_x, "bidmc": bidmc, "ucddb": ucddb,
}  # fmt: skip


def as_watch(night: Recording) -> Recording:
    """The same night as a watch would show its heart: a mean rate every five seconds."""
    beats = night.signal("ibi")
    rate = WATCH_SECONDS * round(beats.rate)
    intervals = beats.values[: len(beats.values) // rate * rate].reshape(-1, rate)
    present = np.isfinite(intervals).any(axis=1)
    bpm = 60 / np.nanmean(intervals[present], axis=1)
    times = WATCH_SECONDS * (np.flatnonzero(present) + 0.5)
    others = night.read([name for name in night.modalities if name != "ibi"])
    return Recording(
        {"ibi": ibi_from_heart_rate(times, bpm, duration=night.duration), **others},
        subject=night.subject,
        duration=night.duration,
        id=f"{night.id}-watch",
    )


SOURCES = {
    "simulated": "make_sleep_cohort of this library; simulated; some sizes of heart rate and "
    "movement were set towards averages of MMASH (docs/simulator.md)",
    "mmash": "MMASH 1.0.0, PhysioNet, open access: 22 men, beat-to-beat intervals and wrist "
    "counts of the sleep-like stretch of a day each; labels not used",
    "mmash_watch": "the same 22 nights, with the beats averaged to a heart rate every 5 s",
    "rr24h": "beat-to-beat intervals of the sleep-like stretch of a day each, PhysioNet, open "
    "access: Normal Sinus Rhythm RR Interval Database 1.0.0 (54 subjects), Congestive Heart "
    "Failure RR Interval Database 1.0.0 (29), 9 of RR interval time series from healthy subjects "
    "1.0.0",
    "rr24h_watch": "the same 92 nights, with the beats averaged to a heart rate every 5 s",
    "apnea-ecg-x": "Apnea-ECG 1.0.0, PhysioNet, ODC-BY 1.0: machine-made beats of 12 test records, "
    "of 7 subjects who are not in the learning set; no marks of apnea",
    "bidmc": "BIDMC PPG and Respiration 1.0.0, PhysioNet, open access: 8 min of ECG, PPG, "
    "impedance respiration and SpO2 of intensive-care patients, awake or sedated",
    "ucddb": "St. Vincent's / UCD Sleep Apnea Database 1.0.0, PhysioNet, ODC-BY 1.0: one EEG of 23 "
    "subjects, a copy with the epochs scored as wake or N3 only; labels not used otherwise",
}
NEVER_SEEN = (
    "sleep-accel (all subjects), Sleep-EDF (SC4001 and all others), slpdb, apnea-ecg (all subjects "
    "of the learning set, also in test records), DREAMS"
)
SELECTION = (
    "Earlier encoders were compared by linear probes on the sets named under never_seen; of this "
    "design one was trained. How its rows fill gaps was chosen by a look at sleep-accel; "
    "benchmarks/evaluation/LOOKS.md lists every look. So figures on these sets are optimistic by "
    "what choosing among few variants gives."
)
DISTILLED = (
    "stages of the simulated nights, and what SeqSleepNet (Phan et al. 2019; weights of PhysioEx, "
    "MIT) makes of their EEG, half each, by a linear layer that was discarded"
)
LIMITS = (
    "Not a medical device. Real signals in training are inter-beat intervals (92 subjects, "
    "29 with heart failure; 22 men with wrist counts too; 7 subjects more), wake and deep "
    "sleep of one EEG of 23 subjects, and 8 min of ECG, PPG, respiration and SpO2 of 46 patients "
    "who did not sleep; every other modality, and the rest of the night, was learned from "
    "simulation. Before the simulator's heart rate and movement were first written, its "
    "author had looked at averages by stage of the sleep-accel subjects; values tuned to them were "
    "taken back to textbook sizes. Later changes went towards published values or MMASH alone, but "
    "which gaps were worth closing was decided beside figures of the evaluated sets."
)


def describe(name: str, groups: Mapping[str, Sequence[Recording]]) -> dict:
    """What :class:`Sleep2VecPretrainer` cannot know of its nights."""
    return {
        "name": name,
        "licence": "BSD-3-Clause",
        "sources": [
            {"source": group, "what": SOURCES[group], **_amounts(recordings)}
            for group, recordings in groups.items()
        ],
        "never_seen": NEVER_SEEN,
        "selection": SELECTION,
        "limits": LIMITS,
        "centered": True,
        "distilled": DISTILLED,
        "made_by": "python -m benchmarks.weights.pretrain, which calls "
        "sleep2vec_sklearn.Sleep2VecPretrainer",
    }


def _amounts(recordings: Sequence[Recording]) -> dict:
    names = sorted({name for recording in recordings for name in recording.modalities})
    hours = {
        name: round(sum(r.n_epochs for r in recordings if name in r) * EPOCH_SECONDS / 3600)
        for name in names
    }
    return {
        "recordings": len(recordings),
        "subjects": len({recording.subject for recording in recordings}),
        "hours_by_modality": hours,
    }


def night_weights(groups, real_share: float = REAL_SHARE) -> np.ndarray:
    """Chances of the nights of all groups, in order: real ones make their share together."""
    total = sum(SHARES[group] for group in groups if group != "simulated") or 1
    unit = real_share / (1 - real_share) * len(groups["simulated"]) / total
    chances = {g: unit * SHARES[g] / len(groups[g]) for g in groups if g != "simulated"}
    return np.concatenate(
        [np.full(len(nights), chances.get(g, 1.0)) for g, nights in groups.items()]
    )


def targets(
    nights: Sequence[Recording], teacher: Path | None, work: Path, n_jobs: int = 2
) -> list[np.ndarray]:
    """Probabilities of W, N1, N2, N3 and REM, float32 [n_epochs, 5] of each night, NaN if unknown.

    Of simulated nights alone: the mean of their stages, smoothed, and of what SeqSleepNet (a file
    of its weights) makes of their EEG, which is kept in the folder ``work``.
    """
    posteriors = {}
    if teacher is not None:
        # nights of wake and N3 alone would teach what these are relative to each other
        scored = [night for night in nights if night.stages is not None]
        posteriors = _posteriors(scored, load_checkpoint(teacher), work / "posteriors.npz", n_jobs)
    found = []
    for night in nights:
        stages = _from_stages(night)
        both = np.stack([stages, posteriors.get(night.id, np.full_like(stages, np.nan))])
        known = np.isfinite(both).sum(axis=0)
        mean = np.nansum(both, axis=0) / np.maximum(known, 1)
        found.append(np.where(known > 0, mean, np.nan).astype(np.float32))
    return found


def _from_stages(night: Recording) -> np.ndarray:
    if night.stages is None:
        return np.full((night.n_epochs, 5), np.nan)
    smoothed = (1 - SMOOTHING) * np.eye(5) + SMOOTHING / 5
    # the last row is that of -1, unscored
    return np.vstack([smoothed, np.full(5, np.nan)])[night.stages]


def _posteriors(
    nights: Sequence[Recording], teacher: SeqSleepNet, path: Path, n_jobs: int
) -> dict[str, np.ndarray]:
    """Those of the nights with an EEG, by id; all that were ever computed are in the file."""
    with_eeg = [night for night in nights if "eeg" in night]
    keys = [f"{teacher.sha256[:8]}-{night.signal_fingerprint('eeg')}" for night in with_eeg]
    known = dict(np.load(path)) if path.exists() else {}
    missing = [index for index, key in enumerate(keys) if key not in known]
    if missing:
        computed = joblib.Parallel(n_jobs)(
            joblib.delayed(posterior)(teacher, with_eeg[index]) for index in missing
        )
        known |= {keys[index]: array for index, array in zip(missing, computed, strict=True)}
        path.parent.mkdir(parents=True, exist_ok=True)
        # savez appends .npz to other names
        part = path.with_suffix(".part.npz")
        np.savez(part, **known)
        part.replace(path)
    return {night.id: known[key] for night, key in zip(with_eeg, keys, strict=True)}


def posterior(teacher: SeqSleepNet, night: Recording) -> np.ndarray:
    """Stage probabilities where the EEG has a signal for ten epochs or more, else NaN.

    As :meth:`SeqSleepNet.predict_proba`, but no sequence reaches over a gap.
    """
    probabilities = np.full((night.n_epochs, 5), np.nan, dtype=np.float32)
    ((_, condition),) = read_conditioned(night, {"eeg": EEG_CONDITIONING})
    eeg = condition()
    if eeg is None:
        return probabilities
    spectrogram = torch.from_numpy(normalise(log_power(eeg.epochs), eeg.valid))
    edges = np.flatnonzero(np.diff(np.r_[0, eeg.valid, 0])).reshape(-1, 2)
    for start, stop in edges[np.ptp(edges, axis=1) >= SHORTEST_RUN]:
        with torch.inference_mode():
            vectors = teacher.network.epoch_vectors(spectrogram[start:stop])
            scores = torch.from_numpy(_over_windows(teacher.network, vectors)[1])
        probabilities[start:stop] = scores.softmax(dim=1)
    return probabilities


def valid_shares(nights: Sequence[Recording]) -> dict[str, float]:
    """Share of epochs with a signal after conditioning, by modality."""
    valid: dict[str, list[np.ndarray]] = {}
    for night in nights:
        conditionings = {name: MODALITIES[name].conditioning for name in night.modalities}
        for name, condition in read_conditioned(night, conditionings):
            signal = condition()
            valid.setdefault(name, []).append(
                np.zeros(night.n_epochs, dtype=bool) if signal is None else signal.valid
            )
    return {name: round(float(np.concatenate(v).mean()), 3) for name, v in valid.items()}


def main() -> None:
    """Count the nights of each source; with a teacher, compute the targets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the sources")
    parser.add_argument("--work", type=Path, help="folder for the teacher's probabilities")
    parser.add_argument("--teacher", type=Path, help="file of SeqSleepNet's weights")
    parser.add_argument("--subjects", type=int, default=400, help="simulated subjects")
    parser.add_argument("--jobs", type=int, default=2, help="processes for the teacher")
    options = parser.parse_args()
    groups = real_nights(options.data)
    for name, nights in groups.items():
        print(name, _amounts(nights), "valid", valid_shares(nights))
    if options.teacher is not None:
        groups["simulated"] = simulated_nights(options.subjects)
        nights = list(itertools.chain.from_iterable(groups.values()))
        found = targets(nights, options.teacher, options.work, options.jobs)
        print("epochs with targets", sum(int(np.isfinite(t[:, 0]).sum()) for t in found))


if __name__ == "__main__":
    main()
