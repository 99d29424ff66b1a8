# SPDX-License-Identifier: BSD-3-Clause
"""What becomes of simulated people: hypertension and survival, linked to what sleep shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .randomness import stream
from .subjects import Subject

__all__ = ["Outcomes", "draw_outcomes"]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Outcomes of one person.

    Attributes
    ----------
    hypertension : int
        1 if present.
    survival_time : float
        Years until death or the end of follow-up.
    event : bool
        Whether the person died within follow-up.
    """

    hypertension: int
    survival_time: float
    event: bool


def draw_outcomes(seed: int, index: int, subject: Subject) -> Outcomes:
    """Draw the outcomes of person number ``index``.

    The risks depend on age, on the apnea index and on traits that shape the signals (heart-rate
    variability, deep sleep, fragmentation), and for the rest on chance: a perfect reader of the
    signals still errs.
    """
    rng = stream((seed, index), "outcomes")
    elderly = (subject.age - 52) / 18
    apnea = np.log1p(subject.ahi) - 2.3
    stiffness = -np.log(subject.heart_variability)
    unrest = np.log(subject.fragmentation)
    shallow = -np.log(subject.deep_sleep)
    pressure = (
        -0.6
        + 1.0 * elderly
        + 0.45 * (subject.bmi - 27) / 5
        + 0.9 * apnea
        + 1.0 * stiffness
        + 0.8 * shallow
    )
    hypertension = rng.random() < 1 / (1 + np.exp(-pressure))
    hazard = 0.035 * np.exp(
        0.95 * elderly + 0.5 * apnea + 0.9 * unrest + 0.4 * stiffness + 0.3 * hypertension
    )
    death = (rng.exponential() / hazard) ** (1 / 1.3) * 1.6
    censored = rng.uniform(3, 12)
    return Outcomes(
        hypertension=int(hypertension),
        survival_time=round(float(max(min(death, censored), 0.01)), 2),
        event=bool(death <= censored),
    )
