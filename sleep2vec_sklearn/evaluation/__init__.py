# SPDX-License-Identifier: BSD-3-Clause
"""How well it works, and what a night was like: scores, reports and clinical statistics."""

from .added_value import BesideBaseline, compare_with_baseline
from .baseline import DemographicBaseline
from .bland_altman import bland_altman
from .breathing import respiratory_statistics
from .calibration import CalibrationReport, calibration_report, expected_calibration_error
from .comparison import EstimatorComparison, compare_estimators
from .events import ScoredEvents, event_scores, find_events, fit_event_threshold
from .indices import index_scores, intraclass_correlation, severity_classes
from .intervals import intervals_to_mask, mask_to_intervals, match_intervals
from .outcomes import binary_report, regression_report
from .oximetry import hypoxic_burden, oximetry_statistics
from .oxygen import desaturations, saturation_per_second
from .sleep_statistics import hours_of_sleep, sleep_statistics
from .stage_classes import merge_stages
from .staging import StagingReport, staging_report

__all__ = [
    "BesideBaseline",
    "CalibrationReport",
    "DemographicBaseline",
    "EstimatorComparison",
    "ScoredEvents",
    "StagingReport",
    "binary_report",
    "bland_altman",
    "calibration_report",
    "compare_estimators",
    "compare_with_baseline",
    "desaturations",
    "event_scores",
    "expected_calibration_error",
    "find_events",
    "fit_event_threshold",
    "hours_of_sleep",
    "hypoxic_burden",
    "index_scores",
    "intervals_to_mask",
    "intraclass_correlation",
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
]
