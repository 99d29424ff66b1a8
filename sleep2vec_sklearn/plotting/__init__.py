# SPDX-License-Identifier: BSD-3-Clause
"""Pictures; matplotlib is imported when one is drawn."""

from .hypnogram import HypnogramDisplay
from .kaplan_meier import KaplanMeierDisplay

__all__ = ["HypnogramDisplay", "KaplanMeierDisplay"]
