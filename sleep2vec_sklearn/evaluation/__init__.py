# SPDX-License-Identifier: BSD-3-Clause
"""How well it works, and what a night was like: scores, reports and clinical statistics."""

from .agreement import bland_altman, index_scores, intraclass_correlation, severity_classes
from .baseline import BaselineComparison, DemographicBaseline, compare_with_baseline
from .calibration import SubjectCalibratedClassifier
from .cause_specific_cox import CauseSpecificCox
from .comparison import EstimatorComparison, compare_encoders, compare_estimators
from .competing_risks import (
    CumulativeIncidence,
    cause_specific_outcome,
    competing_outcome,
    cumulative_incidence,
)
from .competing_scores import (
    CompetingConcordance,
    CompetingIntegratedBrier,
    competing_brier_score,
    competing_concordance,
    integrated_competing_brier_score,
)
from .conformal import (
    ConformalClassifier,
    ConformalRegressor,
    CoverageReport,
    conformal_quantile,
    coverage_report,
)
from .cox_regression import CoxRegression
from .events import (
    ScoredEvents,
    event_scores,
    find_events,
    fit_event_threshold,
    intervals_to_mask,
    mask_to_intervals,
    match_intervals,
)
from .hazard_ratios import (
    HazardRatios,
    ProportionalHazardsTest,
    hazard_ratios,
    proportional_hazards_test,
)
from .missing_outcomes import ObservationWeights, observation_weights
from .outcomes import (
    CalibrationReport,
    binary_report,
    calibration_report,
    expected_calibration_error,
    regression_report,
)
from .phenome import PhenomeScan, phenome_scan
from .repeated_nights import (
    NightReliability,
    VisitChange,
    night_reliability,
    subject_means,
    visit_change,
)
from .respiratory import (
    desaturations,
    hypoxic_burden,
    oximetry_statistics,
    respiratory_statistics,
    saturation_per_second,
)
from .review import ReviewCurve, review_curve, review_order
from .sampling_designs import (
    SampledDesign,
    WeightedHazardRatios,
    case_cohort,
    nested_case_control,
    weighted_hazard_ratios,
)
from .sites import LeaveOneSiteOut, SiteReport, site_report
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
    "BaselineComparison", "CalibrationReport", "CauseSpecificCox", "CompetingConcordance",
    "CompetingIntegratedBrier", "ConformalClassifier", "ConformalRegressor", "CoverageReport",
    "CoxRegression", "CumulativeIncidence", "DemographicBaseline", "DynamicAUC",
    "EstimatorComparison", "HarrellConcordance", "HazardRatios", "IntegratedBrier", "KaplanMeier",
    "LeaveOneSiteOut", "NightReliability", "ObservationWeights", "PhenomeScan",
    "ProportionalHazardsTest", "ReviewCurve", "SampledDesign", "ScoredEvents", "SiteReport",
    "StagingReport", "SubjectCalibratedClassifier", "TableOne", "UnoConcordance", "VisitChange",
    "WeightedHazardRatios", "binary_report", "bland_altman", "brier_score", "calibration_report",
    "case_cohort", "cause_specific_outcome", "compare_encoders", "compare_estimators",
    "compare_with_baseline", "competing_brier_score", "competing_concordance", "competing_outcome",
    "concordance_index", "conformal_quantile", "coverage_report", "cumulative_incidence",
    "desaturations", "dynamic_auc", "event_scores", "expected_calibration_error", "find_events",
    "fit_event_threshold", "format_interval", "hazard_ratios", "hours_of_sleep", "hypoxic_burden",
    "index_scores", "integrated_brier_score", "integrated_competing_brier_score",
    "intervals_to_mask", "intraclass_correlation", "kaplan_meier", "mask_to_intervals",
    "match_intervals", "merge_stages", "nested_case_control", "night_reliability",
    "observation_weights", "oximetry_statistics", "phenome_scan", "proportional_hazards_test",
    "regression_report", "respiratory_statistics", "review_curve", "review_order",
    "saturation_per_second", "severity_classes", "site_report", "sleep_periods", "sleep_statistics",
    "staging_report", "subject_means", "survival_outcome", "table_one", "to_latex", "to_markdown",
    "uno_concordance", "visit_change", "weighted_hazard_ratios",
]  # fmt: skip
