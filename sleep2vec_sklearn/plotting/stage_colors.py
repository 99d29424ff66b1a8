# SPDX-License-Identifier: BSD-3-Clause
"""One colour per stage, in all pictures."""

from __future__ import annotations

from ..signals import SleepStage

__all__ = ["STAGE_COLORS", "TOP_TO_BOTTOM"]

TOP_TO_BOTTOM = (SleepStage.W, SleepStage.R, SleepStage.N1, SleepStage.N2, SleepStage.N3)
# Okabe and Ito's colours; their lightness falls with the depth of sleep, for print in grey
STAGE_COLORS: dict[SleepStage, str] = {
    SleepStage.W: "#f0e442",
    SleepStage.R: "#e69f00",
    SleepStage.N1: "#56b4e9",
    SleepStage.N2: "#0072b2",
    SleepStage.N3: "#10253f",
}
