# SPDX-License-Identifier: BSD-3-Clause
"""How well it works, and what a night was like: scores, reports and clinical statistics."""

from .agreement import bland_altman, index_scores, intraclass_correlation, severity_classes
from .baseline import BaselineComparison, DemographicBaseline, compare_with_baseline
from .comparison import EstimatorComparison, compare_encoders, compare_estimators
from .events import (
    ScoredEvents,
    event_scores,
    find_events,
    fit_event_threshold,
    intervals_to_mask,
    mask_to_intervals,
    match_intervals,
)
from .outcomes import (
    CalibrationReport,
    binary_report,
    calibration_report,
    expected_calibration_error,
    regression_report,
)
from .respiratory import (
    desaturations,
    hypoxic_burden,
    oximetry_statistics,
    respiratory_statistics,
    saturation_per_second,
)
from .sleep_statistics import hours_of_sleep, sleep_periods, sleep_statistics
from .staging import StagingReport, merge_stages, staging_report
from .survival import KaplanMeier, kaplan_meier, survival_outcome
from .survival_scores import (
    DynamicAUC,
    HarrellConcordance,
    IntegratedBrier,
    UnoConcordance,
    brier_score,
    concordance_index,
    dynamic_auc,
    integrated_brier_score,
    uno_concordance,
)
from .tables import TableOne, format_interval, table_one, to_latex, to_markdown

__all__ = [
    "BaselineComparison", "CalibrationReport", "DemographicBaseline", "DynamicAUC",
    "EstimatorComparison", "HarrellConcordance", "IntegratedBrier", "KaplanMeier", "ScoredEvents",
    "StagingReport", "TableOne", "UnoConcordance", "binary_report", "bland_altman", "brier_score",
    "calibration_report", "compare_encoders", "compare_estimators", "compare_with_baseline",
    "concordance_index", "desaturations", "dynamic_auc", "event_scores",
    "expected_calibration_error", "find_events", "fit_event_threshold", "format_interval",
    "hours_of_sleep", "hypoxic_burden", "index_scores", "integrated_brier_score",
    "intervals_to_mask", "intraclass_correlation", "kaplan_meier", "mask_to_intervals",
    "match_intervals", "merge_stages", "oximetry_statistics", "regression_report",
    "respiratory_statistics", "saturation_per_second", "severity_classes", "sleep_periods",
    "sleep_statistics", "staging_report", "survival_outcome", "table_one", "to_latex",
    "to_markdown", "uno_concordance",
]  # fmt: skip
