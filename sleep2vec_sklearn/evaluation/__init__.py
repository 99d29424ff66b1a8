# SPDX-License-Identifier: BSD-3-Clause
"""How well it works, and what a night was like: scores, reports and clinical statistics."""

from .added_value import BesideBaseline, compare_with_baseline
from .baseline import DemographicBaseline
from .bland_altman import bland_altman
from .breathing import respiratory_statistics
from .calibration import CalibrationReport, calibration_report, expected_calibration_error
from .comparison import EstimatorComparison, compare_estimators
from .concordance import concordance_index, uno_concordance
from .events import ScoredEvents, event_scores, find_events, fit_event_threshold
from .indices import index_scores, intraclass_correlation, severity_classes
from .intervals import intervals_to_mask, mask_to_intervals, match_intervals
from .kaplan_meier import KaplanMeier, kaplan_meier
from .outcomes import binary_report, regression_report
from .oximetry import hypoxic_burden, oximetry_statistics
from .oxygen import desaturations, saturation_per_second
from .sleep_statistics import hours_of_sleep, sleep_statistics
from .stage_classes import merge_stages
from .staging import StagingReport, staging_report
from .survival import DynamicAUC, HarrellConcordance, IntegratedBrier, UnoConcordance
from .survival_curves import brier_score, dynamic_auc, integrated_brier_score
from .survival_outcome import survival_outcome

__all__ = [
    "BesideBaseline",
    "CalibrationReport",
    "DemographicBaseline",
    "DynamicAUC",
    "EstimatorComparison",
    "HarrellConcordance",
    "IntegratedBrier",
    "KaplanMeier",
    "ScoredEvents",
    "StagingReport",
    "UnoConcordance",
    "binary_report",
    "bland_altman",
    "brier_score",
    "calibration_report",
    "compare_estimators",
    "compare_with_baseline",
    "concordance_index",
    "desaturations",
    "dynamic_auc",
    "event_scores",
    "expected_calibration_error",
    "find_events",
    "fit_event_threshold",
    "hours_of_sleep",
    "hypoxic_burden",
    "index_scores",
    "integrated_brier_score",
    "intervals_to_mask",
    "intraclass_correlation",
    "kaplan_meier",
    "mask_to_intervals",
    "match_intervals",
    "merge_stages",
    "oximetry_statistics",
    "regression_report",
    "respiratory_statistics",
    "saturation_per_second",
    "severity_classes",
    "sleep_statistics",
    "staging_report",
    "survival_outcome",
    "uno_concordance",
]
