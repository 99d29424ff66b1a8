# SPDX-License-Identifier: BSD-3-Clause
"""What the bundled encoder saw, in words and numbers; stored in the file's metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sleep2vec_sklearn.signals import EPOCH_SECONDS, Recording

SOURCES = {
    "simulated": "make_sleep_cohort of this library; simulated, fitted to no person",
    "mmash": "MMASH 1.0.0, PhysioNet, open access: 22 men, 24 h of beat-to-beat intervals and "
    "wrist counts each; labels not used",
    "mmash_watch": "the same 22 days, with the beats averaged to a heart rate every 5 s",
}
NEVER_SEEN = (
    "sleep-accel (all subjects), Sleep-EDF (SC4001 and all others), slpdb, apnea-ecg, ucddb, DREAMS"
)
NEGATIVES = {
    "recordings": "other nights at the same position",
    "night": "other epochs of the same night",
    "both": "other nights at the same position, and other epochs of the same night",
}
SAMPLING = (
    "Pairs of modalities with ibi or actigraphy twice as often as others, the pair of both eight "
    "times; in it a real day six times as often as a simulated night."
)
SELECTION = (
    "Variants of the objective were chosen by probes on slpdb, ucddb and simulated nights. "
    "Variants that were not shipped were looked at on sleep-accel twice and on SC4001 twice, and "
    "both were evaluated with the encoder shipped before this one. That a subject of sleep-accel "
    "with signal for an eighth of the night was read badly is why windows with a lost sensor are "
    "in training, and why rows of epochs without a signal are made as they are; that rule was "
    "chosen on simulated nights."
)
LIMITS = (
    "Not a medical device. Real signals in training are inter-beat intervals and wrist counts of "
    "22 men only; every other modality was learned from simulation. Before the simulator's heart "
    "rate and movement were written, its author had looked at averages by stage of the sleep-accel "
    "subjects; values tuned to them were taken back to textbook sizes before training."
)


def make_card(options, config, groups: Mapping[str, Sequence[Recording]], network) -> dict:
    """The model card of a finished run."""
    return {
        "name": options.name,
        "paper": "arXiv 2602.13857; trained from scratch, no weights of the authors",
        "licence": "BSD-3-Clause",
        "objective": f"InfoNCE between two modalities, temperature {options.temperature}; "
        f"negatives: {NEGATIVES[options.negatives]}; 15 % of tokens masked, in 30 % of the "
        f"windows the sensor lost for a stretch; feature noise {options.noise} and offset "
        f"{options.offset} SD. Beside it the features of both modalities are foretold from the "
        f"hidden states of one (Huber, weights {options.own} and {options.other})",
        "sampling": SAMPLING,
        "steps": options.steps,
        "windows_per_step": options.batch,
        "context_epochs": config.context_epochs,
        "seed": options.seed,
        "parameters": sum(p.numel() for p in network.parameters()),
        "training_data": [
            {"source": group, "what": SOURCES[group], **_amounts(recordings)}
            for group, recordings in groups.items()
        ],
        "never_seen": NEVER_SEEN,
        "selection": SELECTION,
        "limits": LIMITS,
        "made_by": "benchmarks/bundled_checkpoint/pretrain.py",
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
