# SPDX-License-Identifier: BSD-3-Clause
"""Notes on a recording that readers warn of, and one warning a kind for many recordings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._warnings import warn
from ..errors import RecordingWarning


class Caution(str):
    """A note that changes what a user would conclude; ``kind`` is its text without the numbers."""

    kind: str

    def __new__(cls, text: str, kind: str) -> Caution:
        """Make the text, which is that of one recording, with its kind."""
        caution = super().__new__(cls, text)
        caution.kind = kind
        return caution

    def __reduce__(self) -> tuple[type[Caution], tuple[str, str]]:
        return type(self), (str(self), self.kind)


def warn_of_notes(recordings: Iterable[Any]) -> None:
    """Warn once of each kind of caution, with the number of recordings and the first of them."""
    recordings = list(recordings)
    by_kind: dict[str, list[tuple[Any, str]]] = {}
    for recording in recordings:
        for note in recording.notes:
            if isinstance(note, Caution):
                by_kind.setdefault(note.kind, []).append((recording.id, note))
    for kind, found in by_kind.items():
        name, text = found[0]
        if len(recordings) == 1:
            warn(f"recording {name!r}: {text}", RecordingWarning)
        else:
            n_nights = len(dict.fromkeys(id for id, _ in found))
            warn(
                f"{n_nights} of {len(recordings)} nights: {kind}. The first, {name!r}: {text}",
                RecordingWarning,
            )
