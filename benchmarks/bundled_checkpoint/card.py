# SPDX-License-Identifier: BSD-3-Clause
"""What the bundled encoder saw, in words; stored in the file beside the pretrainer's own card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sleep2vec_sklearn.recordings import EPOCH_SECONDS, Recording

SOURCES = {
    "simulated": "make_sleep_cohort of this library; simulated; some sizes of heart rate and "
    "movement were set towards averages of MMASH (docs/simulator.md)",
    "mmash": "MMASH 1.0.0, PhysioNet, open access: 22 men, 24 h of beat-to-beat intervals and "
    "wrist counts each; labels not used",
    "mmash_watch": "the same 22 days, with the beats averaged to a heart rate every 5 s",
}
NEVER_SEEN = (
    "sleep-accel (all subjects), Sleep-EDF (SC4001 and all others), slpdb, apnea-ecg, ucddb, DREAMS"
)
SELECTION = (
    "Variants, this encoder among them, were compared by linear probes on sleep-accel and slpdb, "
    "and encoders before it were evaluated on all sets named under never_seen; no training saw "
    "them. So figures on them are optimistic by what choosing among few variants gives."
)
LIMITS = (
    "Not a medical device. Real signals in training are inter-beat intervals and wrist counts of "
    "22 men only; every other modality was learned from simulation. Before the simulator's heart "
    "rate and movement were first written, its author had looked at averages by stage of the "
    "sleep-accel subjects; values tuned to them were taken back to textbook sizes. Later changes "
    "went towards published values or MMASH alone, but which gaps were worth closing was decided "
    "beside figures of the evaluated sets."
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
        "made_by": "python -m benchmarks.bundled_checkpoint.pretrain, which calls "
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
