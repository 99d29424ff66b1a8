# SPDX-License-Identifier: BSD-3-Clause
"""Fine-tuning: estimators that train heads, adapters and encoders, and bundled or read networks."""

from .classifier import Sleep2VecClassifier
from .cox import Sleep2VecCoxRegressor
from .events import EventRules, Sleep2VecEventDetector
from .network import FullFineTuning, LoRA
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
