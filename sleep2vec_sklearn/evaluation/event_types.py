# SPDX-License-Identifier: BSD-3-Clause
"""Which of a night's scored events are apneas, hypopneas, arousals or desaturations."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

from ..errors import InvalidRecordingError
from ..signals.naming import naming

__all__ = ["checked_events", "is_type", "normalised_type", "with_arousal"]

_COLUMNS = ("onset", "duration", "type")
_WITH_AROUSAL = re.compile(r"_with_(an_)?arousals?(?=_|$)")


def normalised_type(text) -> str:
    """Lower case, words joined by ``_``, American spelling, ``_with_arousal`` left out.

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation.event_types import normalised_type
    >>> normalised_type("Obstructive Apnoea"), normalised_type("hypopnea_with_arousal")
    ('obstructive_apnea', 'hypopnea')
    """
    return _WITH_AROUSAL.sub("", _words(text))


def with_arousal(types) -> np.ndarray:
    """Which types say that the event ends with an arousal, bool of shape (n_events,).

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation.event_types import with_arousal
    >>> with_arousal(["Hypopnea with arousal", "hypopnea"])
    array([ True, False])
    """
    return np.array([bool(_WITH_AROUSAL.search(_words(name))) for name in types], dtype=bool)


def _words(text) -> str:
    words = re.sub(r"[^a-z0-9]+", "_", str(text).lower()).strip("_")
    return words.replace("pnoea", "pnea")


def is_type(types, *wanted: str) -> np.ndarray:
    """Which types are one of those wanted: all of its words are among the type's.

    So "apnea" is obstructive, central and mixed apnea, but no hypopnea; "arousal" is a
    respiratory arousal, but no apnea that ends with one.

    Parameters
    ----------
    types : iterable of str
        As scored.
    *wanted : str

    Returns
    -------
    bool ndarray of shape (n_events,)

    Examples
    --------
    >>> from sleep2vec_sklearn.evaluation.event_types import is_type
    >>> is_type(["Central Apnea|Central Apnea", "hypopnea", "central_apnea_with_arousal"], "apnea")
    array([ True, False,  True])
    """
    asked = [set(normalised_type(name).split("_")) for name in wanted]
    words = [set(normalised_type(name).split("_")) for name in types]
    return np.array([any(a <= w for a in asked) for w in words], dtype=bool)


def checked_events(events, place: str = "recording") -> pd.DataFrame:
    """The table of a night's events, if it is one.

    Raises
    ------
    InvalidRecordingError
        If a column is missing, or a time is missing, infinite or negative; names the row.
    """
    with naming(place):
        if not isinstance(events, pd.DataFrame):
            raise InvalidRecordingError(
                f"events are a {type(events).__name__}; accepted is a DataFrame with the columns "
                f"{', '.join(_COLUMNS)}, onset and duration in seconds from the start."
            )
        missing = [name for name in _COLUMNS if name not in events]
        if missing:
            raise InvalidRecordingError(
                f"events have no column {', '.join(map(repr, missing))}, but "
                f"{', '.join(map(str, events.columns))}; accepted are {', '.join(_COLUMNS)}."
            )
        for name in ("onset", "duration"):
            values = pd.to_numeric(events[name], errors="coerce").to_numpy(dtype=float)
            odd = np.flatnonzero(~np.isfinite(values) | (values < 0))
            if len(odd):
                raise InvalidRecordingError(
                    f"event {odd[0]} ({events['type'].iloc[odd[0]]}) has {name} "
                    f"{events[name].iloc[odd[0]]}; accepted are seconds from the start, 0 or "
                    "more. Leave it out, or shift the events to the start of the signals."
                )
    return events
