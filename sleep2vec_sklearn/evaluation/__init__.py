# SPDX-License-Identifier: BSD-3-Clause
"""How good an answer is, with people held out and intervals over people."""

from .bland_altman import bland_altman
from .calibration import CalibrationReport, calibration_report, expected_calibration_error
from .outcomes import binary_report, regression_report
from .sleep_statistics import sleep_statistics
from .stage_classes import merge_stages
from .staging import StagingReport, staging_report

__all__ = [
    "CalibrationReport",
    "StagingReport",
    "binary_report",
    "bland_altman",
    "calibration_report",
    "expected_calibration_error",
    "merge_stages",
    "regression_report",
    "sleep_statistics",
    "staging_report",
]
