# SPDX-License-Identifier: BSD-3-Clause
"""Reports of a night, a cohort or a model, each as one HTML file."""

from .cohort import cohort_report
from .model import model_report
from .night import night_report

__all__ = ["cohort_report", "model_report", "night_report"]
