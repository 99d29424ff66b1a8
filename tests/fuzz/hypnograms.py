# SPDX-License-Identifier: BSD-3-Clause
"""Hypnograms: tables, lists, XML and EDF+ annotations next to a night, which is always sound."""

from __future__ import annotations

import numpy as np

from sleep2vec_sklearn import read_cohort, read_recording
from sleep2vec_sklearn.errors import ReadError
from sleep2vec_sklearn.readers import read_scoring
from tests.fuzz import edf
from tests.fuzz.mutators import TEXT, damage
from tests.fuzz.targets import Target

STAGES = ["W", "W", "N1", "N2", "N2", "N3", "R", "?", "N2", "movement"]
N_EPOCHS = 30


def _rows():
    return [(30 * i, 30, STAGES[i % len(STAGES)]) for i in range(N_EPOCHS)]


def _table(sep, header="onset,duration,stage"):
    rows = [",".join(map(str, row)) for row in _rows()] + ["60,12,Hypopnea", "61,3,Arousal"]
    return "\n".join([header, *rows]).replace(",", sep) + "\n"


def _clock_table():
    rows = [f"01.01.2020 22:{i // 2:02}:{30 * (i % 2):02};{stage}"
            for i, (_, _, stage) in enumerate(_rows())]  # fmt: skip
    return "Time;Sleep stage\n" + "\n".join(rows) + "\n"


def _nsrr():
    events = "".join(
        "<ScoredEvent><EventType>Stages|Stages</EventType>"
        f"<EventConcept>Stage {i % 3} sleep|{i % 3}</EventConcept>"
        f"<Start>{30 * i}.0</Start><Duration>30.0</Duration></ScoredEvent>\n"
        for i in range(N_EPOCHS)
    )
    apnea = (
        "<ScoredEvent><EventType>Respiratory|Respiratory</EventType><EventConcept>Obstructive "
        "apnea|Obstructive Apnea</EventConcept><Start>60</Start><Duration>15</Duration>"
        "</ScoredEvent>"
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<PSGAnnotation><ScoredEvents>\n'
        f"{events}{apnea}</ScoredEvents></PSGAnnotation>\n"
    )


def _profusion():
    stages = "".join(f"<SleepStage>{i % 6}</SleepStage>\n" for i in range(N_EPOCHS))
    return (
        "<CMPStudyConfig><EpochLength>30</EpochLength><ScoredEvents><ScoredEvent><Name>SpO2 "
        "desaturation</Name><Start>30</Start><Duration>12.5</Duration></ScoredEvent>"
        f"</ScoredEvents><SleepStages>{stages}</SleepStages></CMPStudyConfig>"
    )


def make_corpus(folder):
    folder.mkdir(parents=True)
    texts = {
        "comma.csv": _table(","), "tab.tsv": _table("\t"), "semicolon.csv": _table(";"),
        "clock.csv": _clock_table(), "spaces.txt": _table(" ", "onset duration stage"),
        "list.txt": "\n".join(stage for *_, stage in _rows()) + "\n",
        "codes.txt": "\n".join(str(i % 6) for i in range(N_EPOCHS)) + "\n",
        "line.eannot": ",".join(stage for *_, stage in _rows()),
        "epochs.csv": "Epoch,Stage\n" + "\n".join(f"{i + 1},{s}" for i, (*_, s) in
                                                  enumerate(_rows())) + "\n",
        "scorers.csv": "onset,stage,scorer\n" + "\n".join(f"{t},{s},one" for t, _, s in
                                                              _rows()) + "\n",
        "nsrr.xml": _nsrr(), "profusion.xml": _profusion(),
    }  # fmt: skip
    inputs = []
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
        inputs.append(folder / name)
    stages = "\x14\x00".join(f"+{t}\x1530\x14Sleep stage {s}" for t, _, s in _rows()[:8])
    annotations = [("EDF Annotations", 200, "")]
    inputs.append(
        edf.write(folder / "marks.edf", annotations, n_records=2, seconds=0, reserved="EDF+C",
                  notes=stages)
    )  # fmt: skip
    return sorted(inputs)


def mutate(rng, path):
    damage(rng, path, TEXT)


def check(path):
    """The scoring alone, and as that of a night of a cohort, which it must not end."""
    nights = path.parent / "nights"
    nights.mkdir()
    for name in ("n1", "n2"):
        edf.write(nights / f"{name}.edf", [("SpO2", 1, "%")], n_records=30 * N_EPOCHS)
    (nights / f"n1-hypnogram{path.suffix}").write_bytes(path.read_bytes())
    differences = []
    try:
        cohort = read_cohort(nights)
    except Exception as error:
        differences.append(f"the cohort ends by {type(error).__name__}: {str(error)[:100]}")
    else:
        if cohort[-1].id != "n2":
            differences.append("the cohort lacks its sound night")
        differences += [text for night in cohort for text in _describe(night)]
    error = None
    try:
        scoring = read_scoring(path, duration=30.0 * N_EPOCHS)
        times = np.concatenate([scoring.onsets, scoring.durations])
        if not np.isfinite(times).all():
            differences.append("times are not finite")
        read_recording(nights / "n2.edf", hypnogram=path)
    except ReadError as refused:
        error = refused
    if error is not None and not differences:
        raise error
    return differences


def _describe(night):
    if night.stages is not None and not np.isin(night.stages, range(-1, 5)).all():
        yield f"stages {set(night.stages)}"
    if night.events is not None:
        times = night.events[["onset", "duration"]].to_numpy(float)
        if not (np.isfinite(times).all() and (times >= 0).all()):
            yield "events have times that are not finite"
        if night.events["type"].str.len().max() > 300:
            yield "an event has a long name"


TARGET = Target(make_corpus, mutate, check, n_full=2000, n_slice=30)
