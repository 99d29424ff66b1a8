# SPDX-License-Identifier: BSD-3-Clause
"""One encoder for nocturnal biosignals, as a scikit-learn transformer."""

from __future__ import annotations

import importlib

from ._version import __version__

_ROOMS = {
    "EmbeddingTable": "encoding.table",
    "EpochSequence": "recordings.epochs",
    "PrecomputedEmbeddings": "encoding.precomputed",
    "Recording": "recordings.recording",
    "RecordingMetadata": "encoding.covariates",
    "SleepStage": "recordings.stages",
    "TimeOfNight": "encoding.covariates",
    "Sleep2VecClassifier": "finetuning.classifier",
    "Sleep2VecCoxRegressor": "finetuning.cox",
    "Sleep2VecEventDetector": "finetuning.events",
    "Sleep2VecPretrainer": "pretraining.pretrainer",
    "Sleep2VecRegressor": "finetuning.regressor",
    "Sleep2VecTransformer": "encoding.transformer",
    "cache_info": "encoding.cache",
    "clear_cache": "encoding.cache",
    "config_context": "config",
    "cross_modal_retrieval": "probing.retrieval",
    "describe_channels": "readers",
    "fit_scaling_law": "probing.scaling",
    "get_config": "config",
    "label_efficiency_curve": "probing.label_efficiency",
    "load_checkpoint": "model.checkpoint",
    "make_sleep_cohort": "datasets.simulation.cohort",
    "modality_importance": "probing.modality_importance",
    "modality_subset_scores": "probing.modality_subsets",
    "read_cohort": "readers",
    "read_recording": "readers",
    "save_checkpoint": "model.checkpoint",
    "set_config": "config",
    "show_versions": "config",
    "stage_night": "finetuning.stager",
    "staging_report": "evaluation.staging",
}

__all__ = ["__version__", *sorted(_ROOMS)]


def __getattr__(name: str):
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    room = importlib.import_module(f".{_ROOMS[name]}", __name__)
    value = globals()[name] = getattr(room, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
