# SPDX-License-Identifier: BSD-3-Clause
"""Apneas and hypopneas of a night per hour of sleep, by a stated rule."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..errors import InvalidRecordingError
from ..signals import Recording
from .event_types import checked_events, is_type, with_arousal
from .indices import divide
from .intervals import intervals_of, touching
from .nights import rows_of_nights, seconds_asleep
from .oxygen import desaturations

__all__ = ["respiratory_statistics"]

_DEPTH = {"3%": 3.0, "4%": 4.0, "scored": None}
_FALL_AFTER = 30
_AROUSAL_AFTER = 5
_KINDS = ("obstructive", "central", "mixed")


def respiratory_statistics(
    recordings, *, hypopnea_rule: str = "3%", stages=None, min_duration: float = 10
) -> pd.Series | pd.DataFrame:
    """Apnea-hypopnea index of scored events.

    Apneas and hypopneas that touch sleep and last long enough count. With a rule, a hypopnea also
    needs a desaturation, or an arousal: a desaturation belongs to the last respiratory event that
    began before it, if it begins at most 30 s after that event's end; an arousal belongs to an
    event within which, or at most 5 s after which, it begins.

    Parameters
    ----------
    recordings : Recording or list of Recording
        With ``events``, an empty table if there were none.
    hypopnea_rule : {"3%", "4%", "scored"}, default="3%"
        - "3%": desaturation of at least 3 points or an arousal (AASM rule 1A).
        - "4%": desaturation of at least 4 points (AASM rule 1B, used by Medicare).
        - "scored": every event scored as a hypopnea.

        Desaturations are found in ``spo2``; a recording without it may have them among its events
        (type "desaturation"), whose depth counts as 3 points, or more if a column ``drop`` says so.
        A hypopnea whose type ends with ``_with_arousal`` has an arousal.
    stages : array-like of shape (n_epochs,), or list of these, optional
        Instead of the recordings' own. Where there are none, the whole recording is sleep.
    min_duration : float, default=10
        Seconds.

    Returns
    -------
    Series, or a DataFrame with a row per night for a list
        ``ahi``, ``apnea_index``, ``hypopnea_index``, ``arousal_index`` (of all arousals) per hour
        of sleep; ``apneas``, the ``obstructive_``, ``central_`` and ``mixed_apneas`` of them,
        ``hypopneas``, ``hypopneas_left_out`` by the rule; ``mean_event_s``; ``sleep_hours``.
        Indices of a night without sleep are NaN.

    Raises
    ------
    InvalidRecordingError
        If a recording has no events, or hypopneas but neither ``spo2`` nor desaturations to judge
        them by.

    References
    ----------
    Berry RB, Budhiraja R, Gottlieb DJ, et al. (2012). Rules for scoring respiratory events in
    sleep. Journal of Clinical Sleep Medicine 8, 597-619.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort
    >>> from sleep2vec_sklearn.evaluation import respiratory_statistics
    >>> nights = make_sleep_cohort(2, hours=2, modalities=["spo2"], random_state=0)
    >>> rules = ("4%", "3%", "scored")
    >>> ahi = [respiratory_statistics(nights[0], hypopnea_rule=rule)["ahi"] for rule in rules]
    >>> ahi == sorted(ahi)
    True
    """
    if hypopnea_rule not in _DEPTH:
        listed = ", ".join(map(repr, _DEPTH))
        raise ValueError(f"hypopnea_rule must be one of {listed}; got {hypopnea_rule!r}.")

    def describe(recording, given, place):
        return _statistics(recording, given, place, hypopnea_rule, min_duration)

    return rows_of_nights(describe, recordings, stages)


def _statistics(recording: Recording, stages, place: str, rule: str, min_duration: float) -> dict:
    if recording.events is None:
        raise InvalidRecordingError(
            f"{place} has no events; accepted is a table of onset, duration and type, an empty one "
            "if nothing was found. Leave nights that nobody scored out."
        )
    events = checked_events(recording.events, place).sort_values("onset", kind="stable")
    asleep = seconds_asleep(recording, stages, int(recording.duration))
    hours = float(asleep.sum() / 3600)
    spans = np.clip(intervals_of(events), 0, len(asleep))
    counted = touching(spans, asleep) & (events["duration"].to_numpy() >= min_duration)
    apnea, hypopnea = (counted & is_type(events["type"], name) for name in ("apnea", "hypopnea"))
    kept = hypopnea
    if hypopnea.any() and rule != "scored":
        kept = hypopnea & _confirmed(recording, events, apnea | hypopnea, rule, place)
    arousals = is_type(events["type"], "arousal") & touching(spans, asleep)
    row = {
        "ahi": divide((apnea | kept).sum(), hours),
        "apnea_index": divide(apnea.sum(), hours),
        "hypopnea_index": divide(kept.sum(), hours),
        "arousal_index": divide(arousals.sum(), hours),
        "apneas": float(apnea.sum()),
    }
    for kind in _KINDS:
        row[f"{kind}_apneas"] = float((apnea & is_type(events["type"], kind)).sum())
    row["hypopneas"] = float(kept.sum())
    row["hypopneas_left_out"] = float((hypopnea & ~kept).sum())
    row["mean_event_s"] = divide(events["duration"][apnea | kept].sum(), (apnea | kept).sum())
    row["sleep_hours"] = hours
    return row


def _confirmed(recording, events: pd.DataFrame, breathing, rule: str, place: str) -> np.ndarray:
    """Which respiratory events have the desaturation, or the arousal, that a rule asks for."""
    falls = _fall_onsets(recording, events, _DEPTH[rule], place)
    onset = events["onset"].to_numpy(dtype=float)
    end = onset + events["duration"].to_numpy(dtype=float)
    places = np.flatnonzero(breathing)
    confirmed = np.zeros(len(events), dtype=bool)
    last = np.searchsorted(onset[places], falls, side="right") - 1
    owners = places[last[last >= 0]]
    near = falls[last >= 0] <= end[owners] + _FALL_AFTER
    confirmed[owners[near]] = True
    if rule == "3%":
        confirmed |= with_arousal(events["type"])
        woke = onset[is_type(events["type"], "arousal")]
        first = np.searchsorted(woke, onset)
        confirmed |= first < np.searchsorted(woke, end + _AROUSAL_AFTER, side="right")
    return confirmed


def _fall_onsets(recording, events: pd.DataFrame, depth: float, place: str) -> np.ndarray:
    """Begins of the desaturations that are deep enough, in time order."""
    if "spo2" in recording:
        return desaturations(recording, threshold=depth)["onset"].to_numpy()
    scored = events[is_type(events["type"], "desaturation")]
    if len(scored) == 0 or (depth > 3 and "drop" not in scored):
        raise InvalidRecordingError(
            f"{place} has hypopneas but neither 'spo2' nor scored desaturations of "
            f"{depth:g} points to judge them by. Pass hypopnea_rule='scored' to count all of them."
        )
    if "drop" in scored:
        scored = scored[scored["drop"] >= depth]
    return scored["onset"].to_numpy(dtype=float)
