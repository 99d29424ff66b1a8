# SPDX-License-Identifier: BSD-3-Clause
"""A list of recordings that knows what is known of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InvalidRecordingError
from .recording import Recording, name_subjects

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Cohort",
]


class Cohort(list):
    """Recordings of a study, with aligned metadata.

    A plain list in every other respect: scikit-learn slices it as one.

    Parameters
    ----------
    recordings : iterable of Recording
        Usually lazy, so a cohort of any size is small in memory.
    metadata : DataFrame
        One row per recording, in the same order; its index holds the recordings' ids.
    failures : iterable of (str, str), default=()
        Path and reason of each recording that could not be read.

    Attributes
    ----------
    metadata : DataFrame
        One row per recording.
    failures : DataFrame
        Columns ``path`` and ``reason``.
    groups : ndarray of shape (n_recordings,)
        Subject of each recording, else its id or position.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn import Recording
    >>> from sleep2vec_sklearn.recordings import Cohort
    >>> nights = [Recording({"spo2": [96.0] * 240}, subject=name, id=name) for name in ("s1", "s2")]
    >>> cohort = Cohort(nights, pd.DataFrame({"age": [52, 61]}, index=["s1", "s2"]))
    >>> cohort
    Cohort(2 recordings of 2 subjects)
    >>> cohort.groups, cohort.metadata["age"].mean()
    (array(['s1', 's2'], dtype=object), np.float64(56.5))
    """

    def __init__(
        self,
        recordings: Iterable[Recording],
        metadata: pd.DataFrame,
        failures: Iterable[tuple[str, str]] = (),
    ):
        import pandas as pd

        super().__init__(recordings)
        if len(metadata) != len(self):
            raise InvalidRecordingError(
                f"metadata has {len(metadata)} rows for {len(self)} recordings; accepted is one "
                "row per recording, in the same order."
            )
        self.metadata = metadata
        self.failures = pd.DataFrame(list(failures), columns=["path", "reason"])

    @property
    def groups(self) -> np.ndarray:
        """Subject of each recording, else its id or position, for ``groups=`` of scikit-learn."""
        return name_subjects(self)

    def __repr__(self) -> str:
        subjects = len(set(self.groups.tolist()))
        lost = f", {len(self.failures)} not read" if len(self.failures) else ""
        return f"Cohort({len(self)} recordings of {subjects} subjects{lost})"
