# SPDX-License-Identifier: BSD-3-Clause
"""Fine-tuning: heads on the encoder's tokens, adapters inside it, and who trains them."""

from .classifier import Sleep2VecClassifier
from .cox import Sleep2VecCoxRegressor
from .events import Sleep2VecEventDetector
from .regressor import Sleep2VecRegressor
from .stager import StagedNight, stage_night

__all__ = [
    "Sleep2VecClassifier",
    "Sleep2VecCoxRegressor",
    "Sleep2VecEventDetector",
    "Sleep2VecRegressor",
    "StagedNight",
    "stage_night",
]
