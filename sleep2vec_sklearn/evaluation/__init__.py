# SPDX-License-Identifier: BSD-3-Clause
"""Scores: how good are predictions, and how sure can one be of that?"""

from .concordance import concordance_index, uno_concordance
from .kaplan_meier import KaplanMeier, kaplan_meier
from .survival import DynamicAUC, HarrellConcordance, IntegratedBrier, UnoConcordance
from .survival_curves import brier_score, dynamic_auc, integrated_brier_score
from .survival_outcome import survival_outcome

__all__ = [
    "DynamicAUC",
    "HarrellConcordance",
    "IntegratedBrier",
    "KaplanMeier",
    "UnoConcordance",
    "brier_score",
    "concordance_index",
    "dynamic_auc",
    "integrated_brier_score",
    "kaplan_meier",
    "survival_outcome",
    "uno_concordance",
]
