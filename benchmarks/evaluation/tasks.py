# SPDX-License-Identifier: BSD-3-Clause
"""What is asked of the encoder: real and simulated nights, their labels, and who is held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, StratifiedKFold

from sleep2vec_sklearn import EpochSequence, make_sleep_cohort
from sleep2vec_sklearn.datasets import load_apnea_ecg, load_sleep_accel, load_slpdb
from sleep2vec_sklearn.datasets._files import read_annotations
from sleep2vec_sklearn.recordings import EPOCH_SECONDS, Cohort, Recording

from .one_night import NIGHTS
from .probes import Labels, Rows
from .questions import APNEA_EPOCH, APNEA_MINUTE, FIVE_STAGES, THREE_STAGES, Question

FOLDS = 10
BLOCKS = 5
Nights = EpochSequence | Sequence[Recording]
Maker = Callable[[Nights], Rows]
Problem = tuple[str, Labels, Rows, Rows | None]  # its name; the last are other rows to test on


@dataclass(frozen=True)
class RealNights:
    """Nights of some sensors, and what is asked of them, ten folds of subjects."""

    folder: str
    load: Callable[[Path], Sequence[Recording]]
    modalities: tuple[str, ...]
    questions: tuple[Question, ...]

    def recordings(self, data: Path) -> list[Recording]:
        """Those that have all of the task's sensors, and no other sensor."""
        nights = [r for r in self.load(data / self.folder) if set(self.modalities) <= {*r}]
        return [night.without(*(set(night) - set(self.modalities))) for night in nights]

    def __call__(self, make: Maker, data: Path) -> Iterator[Problem]:
        nights = self.recordings(data)
        whole = make(EpochSequence(nights))
        ends = np.cumsum([night.n_epochs for night in nights])[:-1]
        for question in self.questions:
            y = [question.labels(night) for night in nights]
            whose = np.repeat([str(night.subject) for night in nights], [len(part) for part in y])
            asked = np.concatenate(y) >= 0
            rows = {
                name: np.vstack([question.rows(part) for part in np.split(X, ends)])[asked]
                for name, X in whole.items()
            }
            yield (
                f"{self.folder}, {' + '.join(self.modalities)}",
                by_subject(question, np.concatenate(y)[asked], whose[asked]),
                rows,
                None,
            )


def by_subject(question: Question, y: np.ndarray, subjects: np.ndarray) -> Labels:
    """With ten folds of subjects, or one each where there are fewer."""
    folds = GroupKFold(min(FOLDS, len(np.unique(subjects)))).split(y, groups=subjects)
    return Labels(question, y, subjects, [*folds])


def load_annotated_minutes(folder: Path) -> list[Recording]:
    """Apnea-ECG cut to the minutes that have a label: the last ones of some records have none."""
    nights = []
    for night in load_apnea_ecg(folder):
        n_labels = len(read_annotations(folder / f"{night.id}.apn").samples)
        seconds = min(n_labels * 60, night.n_epochs * EPOCH_SECONDS)
        signal = night.signal("ibi")
        values = signal.values[: round(seconds * signal.rate)]
        cut = {"events": night.events, "duration": float(seconds)}
        signals = {"ibi": (values, signal.rate)}
        nights.append(Recording(signals, subject=night.subject, id=night.id, **cut))
    return nights


def other_laboratory(make: Maker, data: Path) -> Iterator[Problem]:
    """Five stages from EEG: SC4001 for DREAMS, and DREAMS for SC4001; penalties by blocks."""
    rows, y, subjects = [], [], []
    for load in NIGHTS.values():
        night = load(data)
        eeg = night.recording.without(*(set(night.recording) - {"eeg"}))
        rows.append(make(EpochSequence([eeg])[np.flatnonzero(night.used)]))
        y.append(eeg.stages[night.used].astype(int))
        subjects.append(np.full(len(y[-1]), str(eeg.subject)))
    inner = [
        [f"{i}-{k * BLOCKS // len(part)}" for k in range(len(part))] for i, part in enumerate(y)
    ]
    first = np.arange(sum(map(len, y))) < len(y[0])
    one, other = np.flatnonzero(first), np.flatnonzero(~first)
    joined = {name: np.vstack([part[name] for part in rows]) for name in rows[0]}
    for title, fold in (("SC4001 to DREAMS", (one, other)), ("DREAMS to SC4001", (other, one))):
        labels = Labels(
            FIVE_STAGES, np.concatenate(y), np.concatenate(subjects), [fold], np.concatenate(inner)
        )
        yield f"{title}, eeg", labels, joined, None


BOTH = ("ibi", "actigraphy")
REAL: dict[str, Callable[[Maker, Path], Iterator[Problem]]] = {
    "sleep-accel": RealNights("sleep-accel", load_sleep_accel, BOTH, (THREE_STAGES,)),
    "sleep-accel-ibi": RealNights("sleep-accel", load_sleep_accel, BOTH[:1], (THREE_STAGES,)),
    "sleep-accel-actigraphy": RealNights(
        "sleep-accel", load_sleep_accel, BOTH[1:], (THREE_STAGES,)
    ),
    "slpdb": RealNights("slpdb", load_slpdb, ("ibi",), (THREE_STAGES, APNEA_EPOCH)),
    "apnea-ecg": RealNights("apnea-ecg", load_annotated_minutes, ("ibi",), (APNEA_MINUTE,)),
    "eeg": other_laboratory,
}

SENSORS = ("eeg", "eog", "emg", "ecg", "airflow", "effort", "spo2", "ibi", "resp")
OUTCOMES = ("apnea", "hypertension", "event")
SEED = 20261123
SITES = 6
HOURS = 6.0
STRIDE = 4
LOST = 0.5
REPEATS = 3
FEWEST_CASES = 5


def simulated_cohort(n_nights: int, hours: float = HOURS) -> Cohort:
    """One night each of people, and from laboratories, that no encoder was pretrained on."""
    return make_sleep_cohort(
        n_nights, hours=hours, n_sites=SITES, site_kinds="laboratory", modalities=SENSORS,
        missing=0.0, random_state=SEED,
    )  # fmt: skip


def simulated_psg(make: Maker, cohort: Cohort) -> Iterator[Problem]:
    """Five stages of every fourth epoch, by subject, by site, with lost sensors; outcomes."""
    parts, of_nights, y, subjects, sites = [], [], [], [], []
    rng = np.random.default_rng(SEED)
    for night, site in zip(cohort, cohort.metadata["site"], strict=True):
        kept = in_memory(night)
        given = kept, lose_sensors(kept, rng)
        parts.append([make(EpochSequence([one])[::STRIDE]) for one in given])
        of_nights.append(make([kept]))
        y.append(FIVE_STAGES.labels(kept)[::STRIDE])
        subjects.append(np.full(len(y[-1]), str(night.subject)))
        sites.append(np.full(len(y[-1]), str(site)))
    stages = np.concatenate(y)
    asked = stages >= 0
    whole, with_losses = (
        {name: np.vstack([part[name] for part in given])[asked] for name in given[0]}
        for given in zip(*parts, strict=True)
    )
    labels = by_subject(FIVE_STAGES, stages[asked], np.concatenate(subjects)[asked])
    yield "simulated, nine sensors", labels, whole, None
    yield "simulated, half of the sensors lost at test", labels, whole, with_losses
    folds = [*LeaveOneGroupOut().split(labels.y, groups=np.concatenate(sites)[asked])]
    unseen = Labels(FIVE_STAGES, labels.y, labels.subjects, folds)
    yield "simulated, unseen laboratory", unseen, whole, None
    rows = {name: np.vstack([row[name] for row in of_nights]) for name in of_nights[0]}
    table = cohort.metadata
    rows["age, sex, BMI"] = np.stack([table["age"], table["sex"] == "M", table["bmi"]], axis=1)
    people = np.array([str(night.subject) for night in cohort])
    for outcome in OUTCOMES:
        y = table[outcome].to_numpy().astype(int)
        if np.bincount(y, minlength=2).min() < FEWEST_CASES:
            continue
        folds = [
            fold
            for seed in range(REPEATS)
            for fold in StratifiedKFold(5, shuffle=True, random_state=seed).split(y, y)
        ]
        question = Question(outcome, ("auroc",), events=(outcome,))
        yield "simulated nights", Labels(question, y, people, folds), rows, None


def in_memory(night: Recording) -> Recording:
    """A simulated night that is simulated once."""
    signals = night.read()
    return Recording(
        {name: (signal.values, signal.rate) for name, signal in signals.items()},
        units={name: signal.unit for name, signal in signals.items()},
        subject=night.subject, metadata=night.metadata, stages=night.stages,
        duration=night.duration, id=night.id,
    )  # fmt: skip


def lose_sensors(night: Recording, rng: np.random.Generator) -> Recording:
    """The night without each sensor with a chance of one half; at least one stays."""
    names = np.array(night.modalities)
    lost = rng.random(len(names)) < LOST
    lost[rng.integers(len(names))] = False
    return night.without(*names[lost])
