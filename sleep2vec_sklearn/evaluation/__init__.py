# SPDX-License-Identifier: BSD-3-Clause
"""How well it works, and what a night was like: scores, reports and clinical statistics."""

from .breathing import respiratory_statistics
from .events import ScoredEvents, event_scores, find_events, fit_event_threshold
from .indices import index_scores, intraclass_correlation, severity_classes
from .intervals import intervals_to_mask, mask_to_intervals, match_intervals
from .oximetry import hypoxic_burden, oximetry_statistics
from .oxygen import desaturations, saturation_per_second
from .sleep_statistics import hours_of_sleep, sleep_statistics

__all__ = [
    "ScoredEvents",
    "desaturations",
    "event_scores",
    "find_events",
    "fit_event_threshold",
    "hours_of_sleep",
    "hypoxic_burden",
    "index_scores",
    "intervals_to_mask",
    "intraclass_correlation",
    "mask_to_intervals",
    "match_intervals",
    "oximetry_statistics",
    "respiratory_statistics",
    "saturation_per_second",
    "severity_classes",
    "sleep_statistics",
]
