# SPDX-License-Identifier: BSD-3-Clause
"""One encoder for nocturnal biosignals, as a scikit-learn transformer."""

from __future__ import annotations

import importlib

from ._version import __version__

# type checkers take it as true; importing typing would be nine tenths of the time of this module
TYPE_CHECKING = False
if TYPE_CHECKING:
    from .config import config_context, get_config, set_config, show_versions
    from .datasets.simulation.cohort import make_sleep_cohort
    from .encoding.cache import cache_info, clear_cache
    from .encoding.covariates import RecordingMetadata, TimeOfNight
    from .encoding.precomputed import PrecomputedEmbeddings
    from .encoding.table import EmbeddingTable
    from .encoding.transformer import Sleep2VecTransformer
    from .evaluation.staging import staging_report
    from .finetuning.classifier import Sleep2VecClassifier
    from .finetuning.cox import Sleep2VecCoxRegressor
    from .finetuning.events import Sleep2VecEventDetector
    from .finetuning.regressor import Sleep2VecRegressor
    from .finetuning.stager import stage_night
    from .model.checkpoint import load_checkpoint, save_checkpoint
    from .pretraining.pretrainer import Sleep2VecPretrainer
    from .probing.label_efficiency import label_efficiency_curve
    from .probing.modality_importance import modality_importance
    from .probing.modality_subsets import modality_subset_scores
    from .probing.retrieval import cross_modal_retrieval
    from .probing.scaling import fit_scaling_law
    from .readers import describe_channels, read_cohort, read_recording
    from .recordings.epochs import EpochSequence
    from .recordings.recording import Recording
    from .recordings.stages import SleepStage

_MODULES = {
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

__all__ = [
    "EmbeddingTable",
    "EpochSequence",
    "PrecomputedEmbeddings",
    "Recording",
    "RecordingMetadata",
    "Sleep2VecClassifier",
    "Sleep2VecCoxRegressor",
    "Sleep2VecEventDetector",
    "Sleep2VecPretrainer",
    "Sleep2VecRegressor",
    "Sleep2VecTransformer",
    "SleepStage",
    "TimeOfNight",
    "__version__",
    "cache_info",
    "clear_cache",
    "config_context",
    "cross_modal_retrieval",
    "describe_channels",
    "fit_scaling_law",
    "get_config",
    "label_efficiency_curve",
    "load_checkpoint",
    "make_sleep_cohort",
    "modality_importance",
    "modality_subset_scores",
    "read_cohort",
    "read_recording",
    "save_checkpoint",
    "set_config",
    "show_versions",
    "stage_night",
    "staging_report",
]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f".{_MODULES[name]}", __name__)
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
