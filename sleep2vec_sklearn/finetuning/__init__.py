# SPDX-License-Identifier: BSD-3-Clause
"""Fine-tuning: estimators that train heads, adapters and encoders, and bundled or read networks."""

from .classifier import Sleep2VecClassifier
from .config import EventRules, FullFineTuning, LoRA
from .cox import Sleep2VecCoxRegressor
from .events import Sleep2VecEventDetector
from .regressor import Sleep2VecRegressor
from .stager import StagedNight, stage_night
from .upstream import load_finetuned

__all__ = [
    "EventRules",
    "FullFineTuning",
    "LoRA",
    "Sleep2VecClassifier",
    "Sleep2VecCoxRegressor",
    "Sleep2VecEventDetector",
    "Sleep2VecRegressor",
    "StagedNight",
    "load_finetuned",
    "stage_night",
]
