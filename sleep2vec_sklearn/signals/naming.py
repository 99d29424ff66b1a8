# SPDX-License-Identifier: BSD-3-Clause
"""How recordings and subjects are called, in errors and in groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvalidRecordingError

if TYPE_CHECKING:
    from .recording import Recording

__all__ = ["as_names", "describe_place", "name_subjects", "naming"]


def describe_place(recording: Recording | None, position: int | str | None = None) -> str:
    """How errors name a recording: its position in X, its id, both, or neither."""
    where = "recording" if position is None else f"recording {position}"
    name = getattr(recording, "id", None)
    return where if name is None else f"{where} ({name})"


def name_subjects(recordings: Sequence[Recording]) -> np.ndarray:
    """Name the subject of each recording, else its id or position; see :func:`as_names`."""
    return as_names([r.id if r.subject is None else r.subject for r in recordings])


def as_names(names: Sequence) -> np.ndarray:
    """Make names an object array that can be sorted, None standing for a position.

    Names of kinds that cannot be compared become text, as grouping needs an order.
    """
    if all(name is None for name in names):
        names = range(len(names))
    else:
        # a bare number could be the name of another
        names = [describe_place(None, i) if n is None else n for i, n in enumerate(names)]
        try:
            sorted(set(names))
        except TypeError:
            names = [str(name) for name in names]
    return np.fromiter(names, dtype=object, count=len(names))


@contextmanager
def naming(place: str | None) -> Iterator[None]:
    """Begin the errors about a recording with its place."""
    try:
        yield
    except InvalidRecordingError as error:
        if place is not None:
            error.args = (f"{place}: {error}",)
        raise
