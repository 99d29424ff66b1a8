# SPDX-License-Identifier: BSD-3-Clause
"""The nights of a study, with a table of their metadata that follows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, overload

import numpy as np

from .._arguments import as_array, as_index, is_missing, is_whole, shown
from .._html import as_html
from .._warnings import listed
from ..errors import InvalidRecordingError
from .epochs import as_rows
from .recording import Recording, as_names, as_recording, name_subjects

if TYPE_CHECKING:
    import pandas as pd

# columns that say where a night is and whose, not what is known of it
_PLACES = ("path", "hypnogram", "subject", "id")
_MOVED = (
    "rows of cohort.metadata were moved, renamed, dropped or added in place, and are no longer "
    "those of its recordings. Use cohort.sort_by(column) or cohort[mask] instead; assign a table "
    "with the rows as they were to cohort.metadata to go on."
)


class Cohort(list[Recording]):
    """The recordings of a study: a list that cannot be changed, and a table that follows it.

    ``cohort[mask]``, ``cohort[ids]``, ``cohort[2:5]`` and ``a + b`` are cohorts with their rows of
    ``metadata``; ``cohort["n1"]`` and ``cohort[0]`` are recordings. What is written to
    ``cohort.metadata`` is read from the recordings: a new column is a key of
    ``Recording.metadata``, and ``subject`` is the recordings' subject.

    Parameters
    ----------
    recordings : iterable of Recording
        Usually lazy, so that a cohort of any size is small in memory. They are not changed; the
        cohort holds copies that share their signals.
    metadata : DataFrame
        One row per recording, in the same order; its index holds the recordings' ids, or is a
        plain range.
    failures : iterable of (str, str) or DataFrame, default=()
        Path and reason of each recording that could not be read.

    Attributes
    ----------
    metadata : DataFrame
        One row per recording. Columns may be added and values changed in place; a table that is
        assigned needs the same index.
    failures : DataFrame
        Columns ``path`` and ``reason``. Parts of a cohort keep all of them.

    Raises
    ------
    InvalidRecordingError
        If the rows of ``metadata`` are not those of the recordings.

    Examples
    --------
    >>> import pandas as pd
    >>> from sleep2vec_sklearn import Recording
    >>> from sleep2vec_sklearn.recordings import Cohort
    >>> nights = [Recording({"spo2": [96.0] * 240}, subject=name, id=name) for name in ("s1", "s2")]
    >>> cohort = Cohort(nights, pd.DataFrame({"age": [52, 61]}, index=["s1", "s2"]))
    >>> cohort
    Cohort(2 recordings of 2 subjects)
    >>> cohort.metadata["bmi"] = [24.0, 31.5]
    >>> [night.metadata["bmi"] for night in cohort[cohort.metadata["age"] > 55]]
    [31.5]
    """

    def __init__(
        self, recordings: Iterable[Recording], metadata: pd.DataFrame,
        failures: Iterable[tuple[str, str]] | pd.DataFrame = (),
    ):  # fmt: skip
        import pandas as pd

        if not hasattr(recordings, "__iter__") or getattr(recordings, "ndim", 1) == 0:
            raise InvalidRecordingError(
                f"recordings is {shown(recordings)}; accepted is a list of Recording. Wrap one: "
                "[recording]."
            )
        self._bind(list(recordings), metadata, by_order=True)
        if not isinstance(failures, pd.DataFrame):
            failures = pd.DataFrame(_check_failures(failures), columns=["path", "reason"])
        self.failures = failures.reset_index(drop=True)

    @property
    def metadata(self) -> pd.DataFrame:
        """Table of what is known of each recording; see the class."""
        return self._metadata

    @metadata.setter
    def metadata(self, metadata: pd.DataFrame) -> None:
        self._bind(list(super().__iter__()), metadata, by_order=False)

    def _bind(self, recordings: list[Recording], metadata: pd.DataFrame, by_order: bool) -> None:
        recordings = [as_recording(recording, i) for i, recording in enumerate(recordings)]
        self._metadata = _check_rows(metadata, [recording.id for recording in recordings], by_order)
        self._index = self._metadata.index
        own = [getattr(recording.metadata, "own", recording.metadata) for recording in recordings]
        rows = [_Row(self._metadata, i, stated) for i, stated in enumerate(own)]
        list.__init__(self, map(_with_metadata, recordings, rows))
        self._subjects: pd.Series | None = None
        self._take_subjects()

    @property
    def groups(self) -> np.ndarray:
        """Subject of each recording, else its id or position, for ``groups=`` of scikit-learn."""
        return name_subjects(list(self))

    def by_subject(self) -> list[list[Recording]]:
        """The nights of each subject, subjects in the order of ``pandas.unique(cohort.groups)``.

        As X of an estimator, such a list of lists has one row per subject.
        """
        nights: dict[Any, list[Recording]] = {}
        for subject, recording in zip(self.groups.tolist(), self, strict=True):
            nights.setdefault(subject, []).append(recording)
        return list(nights.values())

    def sort_by(self, column: str | list[str], ascending: bool = True) -> Cohort:
        """A cohort in the order of columns of ``metadata``; rows without a value come last.

        Raises
        ------
        InvalidRecordingError
            If ``metadata`` has no such column.
        """
        columns = list(column) if isinstance(column, list | tuple) else [column]
        known = list(self._metadata.columns)
        unknown = [name for name in columns if not isinstance(name, str | int) or name not in known]
        if not columns or not isinstance(ascending, bool | np.bool_):
            raise InvalidRecordingError(
                f"column is {shown(column)} and ascending {shown(ascending)}; accepted are one "
                "column of metadata or a list of them, and True or False. Pass for example 'age'."
            )
        if unknown:
            raise InvalidRecordingError(
                f"metadata has no column {unknown[0]!r} to sort by; its columns are "
                f"{', '.join(map(str, self._metadata.columns))}."
            )
        table = self._metadata.reset_index(drop=True)
        try:
            order = table.sort_values(columns, ascending=bool(ascending), kind="stable").index
        except TypeError:
            raise InvalidRecordingError(
                f"column {columns[0]!r} holds values that have no order, such as text and numbers "
                "side by side. Make them of one kind first, for example by astype(str)."
            ) from None
        return self._take(order.to_numpy())

    def shuffle(self, random_state: Any = None) -> Cohort:
        """A cohort in random order, by a seed, a RandomState, or None for another at each call."""
        from .._validation import as_random_state

        return self._take(as_random_state(random_state).permutation(len(self)))

    def copy(self) -> Cohort:
        """A cohort whose table can be changed without changing this one."""
        return self._take(np.arange(len(self)))

    __copy__ = copy

    def report(self, coverage: bool = False) -> pd.DataFrame:
        """What was read of each night, from where, and what was not; a row per recording.

        Parameters
        ----------
        coverage : bool, default=False
            Read the signals, one night after the other, for the hours of usable signal of each
            modality (:meth:`Recording.coverage`). Otherwise none is read.

        Returns
        -------
        DataFrame
            Columns ``subject``, ``start``, ``hours``, ``epochs``, ``epochs_scored``,
            ``modalities``, ``channels`` (modality: label, with "or" where the signals
            decide and were not read, "+" where all are), ``derived``, ``left_out`` (modalities
            and epochs, and why; not each unused channel, for which see
            :func:`describe_channels`), ``labels`` (how they were aligned), ``notes`` (the rest),
            and with ``coverage`` one column ``coverage_eeg`` etc. in hours for each modality of
            the cohort, and ``filled_eeg`` etc., epochs filled by other derivations, where these
            were read to fill.

        Examples
        --------
        >>> from sleep2vec_sklearn import make_sleep_cohort
        >>> cohort = make_sleep_cohort(2, hours=1, modalities=["ibi"], missing=0, random_state=0)
        >>> cohort.report()[["subject", "hours", "epochs_scored", "modalities"]].values.tolist()
        [['sim-0001', 1.0, 120, 'ibi'], ['sim-0002', 1.0, 120, 'ibi']]
        """
        import pandas as pd

        # measured before it is described, as reading settles the channel
        measured = [_measure_night(night) if coverage else {} for night in self]
        rows = [_describe_night(night) | more for night, more in zip(self, measured, strict=True)]
        return pd.DataFrame(rows, index=self._index, columns=None if rows else _REPORT_COLUMNS)

    def to_frame(self) -> pd.DataFrame:
        """A row per night: ``recording``, its id or position, and the columns of ``metadata``.

        A copy, which can be changed without changing the cohort.
        """
        self._check_order()
        names = as_names([recording.id for recording in super().__iter__()])
        table = self._metadata.drop(columns="recording", errors="ignore").reset_index(drop=True)
        table.insert(0, "recording", names.tolist())
        return table

    @overload  # type: ignore[override]
    def __getitem__(self, key: int | str) -> Recording: ...

    @overload
    def __getitem__(self, key: Any) -> Cohort: ...

    def __getitem__(self, key: Any) -> Recording | Cohort:
        if isinstance(key, str):
            return self[int(self._positions([key])[0])]
        if is_whole(key):
            self._check_order()
            recording = super().__getitem__(as_index(key, len(self)))
            if "subject" in self._metadata.columns:
                stated = recording.metadata.cell("subject")  # type: ignore[attr-defined]
                recording.subject = recording.subject if stated is None else stated
            return recording
        return self._take(self._positions(key))

    def __iter__(self) -> Iterator[Recording]:
        self._check_order()
        self._take_subjects()
        return super().__iter__()

    def __add__(self, other: Any) -> Any:
        if not isinstance(other, Cohort):
            return list(self) + other
        common = {r.id for r in self if r.id is not None} & {r.id for r in other}
        if common:
            raise InvalidRecordingError(
                f"{len(common)} nights are in both cohorts by their ids, for example "
                f"{min(map(str, common))!r}. Leave them out of one, or read that with other ids."
            )
        table = _concat(self._metadata, other._metadata)
        failures = _concat(self.failures, other.failures).drop_duplicates()
        return Cohort([*self, *other], table, failures)

    def __reduce__(self) -> tuple[Any, ...]:
        # the table travels once, not with every recording
        recordings = [_with_metadata(night, night.metadata.own) for night in self]  # type: ignore[attr-defined]
        return type(self), (recordings, self._metadata, self.failures)

    def __repr__(self) -> str:
        subjects = len(set(name_subjects(list(super().__iter__())).tolist()))
        failures = f", {len(self.failures)} not read" if len(self.failures) else ""
        return f"Cohort({len(self)} recordings of {subjects} subjects{failures})"

    def _repr_html_(self) -> str:
        return as_html(repr(self), self._metadata, rest=".metadata")

    def _refuse_change(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Stand for the methods of a list that would part the nights from their rows."""
        raise TypeError(
            "a Cohort cannot be changed in place, as its metadata would not follow. Make another "
            "one by cohort[mask or ids], a + b, sort_by(column) or shuffle(random_state), or take "
            "a plain list of its recordings, list(cohort)."
        )

    append = extend = insert = remove = pop = clear = sort = reverse = _refuse_change
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse_change

    def _take_subjects(self) -> None:
        """Take the subjects that the table states, if they are others than the last time."""
        subjects = self._metadata.get("subject")
        if subjects is None or subjects.equals(self._subjects):
            return
        self._subjects = subjects.copy()
        for recording, subject in zip(super().__iter__(), subjects.astype(object), strict=True):
            if not is_missing(subject):
                recording.subject = subject

    def _take(self, positions: np.ndarray) -> Cohort:
        self._check_order()
        recordings = list(self)
        table = self._metadata.iloc[positions].copy()
        return Cohort([recordings[i] for i in positions], table, self.failures)

    def _positions(self, key: Any) -> np.ndarray:
        """Positions that a slice, a mask, a list of ids or a list of positions stands for."""
        import pandas as pd

        if isinstance(key, slice):
            return np.arange(len(self))[as_rows(key)]
        column = as_array("the key of a cohort", key, TypeError)
        if column.ndim != 1 or column.dtype.kind not in "OUiubfT":
            raise TypeError(
                f"the key of a cohort is {shown(key)}; accepted are an id, a position, a slice, "
                "and a list of ids, of positions or of True and False. Pass cohort[ids]."
            )
        # a column with gaps holds masks as objects and positions as floats
        values = pd.Series(column).convert_dtypes()
        if values.empty:
            return np.empty(0, dtype=np.intp)
        if pd.api.types.is_bool_dtype(values):
            if len(values) != len(self) or values.isna().any():
                raise InvalidRecordingError(
                    f"the mask has {len(values)} values, {values.isna().sum()} of them missing, "
                    f"for {len(self)} recordings; accepted is True or False for each."
                )
            if isinstance(key, pd.Series) and not key.index.equals(self._index):
                raise InvalidRecordingError(
                    "the mask's index is not that of the cohort's metadata. Compute it from "
                    "cohort.metadata, or pass its values if they are in the order of the nights."
                )
            return np.flatnonzero(values.to_numpy(dtype=bool))
        if pd.api.types.is_integer_dtype(values):
            return np.arange(len(self))[values.to_numpy()]
        return self._find_ids([str(name) for name in values])

    def _find_ids(self, ids: list[str]) -> np.ndarray:
        nights = list(super().__iter__())
        places: dict[str, int] = {}
        for i, night in enumerate(nights):
            first = places.setdefault(str(night.id), i)
            if night._source is not nights[first]._source and str(night.id) in ids:
                raise KeyError(
                    f"the id {night.id!r} is that of two nights, {first} and {i}; use positions"
                )
        missing = [id for id in ids if id not in places]
        if missing:
            more = f"and {len(missing) - 1} more are not ids" if missing[1:] else "is not an id"
            known = listed([*map(repr, places)], 3)
            raise KeyError(f"{missing[0]!r} {more} of the cohort, which has {known}")
        return np.array([places[id] for id in ids])

    def _check_order(self) -> None:
        if not self._metadata.index.equals(self._index):
            raise InvalidRecordingError(_MOVED)


class _Row(Mapping[str, Any]):
    """Metadata of a recording: its row of the cohort's table, then what the recording states."""

    def __init__(self, table: pd.DataFrame, position: int, own: Mapping[str, Any]):
        self.own = own
        self._table, self._position, self._index = table, position, table.index

    def cell(self, key: str) -> Any:
        """The value in the table; None if it is missing."""
        table = self._table
        if not table.index.equals(self._index):
            raise InvalidRecordingError(_MOVED)
        value = table.iat[self._position, table.columns.get_loc(key)]
        if is_missing(value):
            return None
        return value.item() if isinstance(value, np.generic) else value

    def __getitem__(self, key: str) -> Any:
        if key not in self._table.columns or (key in _PLACES and key not in self.own):
            return self.own[key]
        value, own = self.cell(key), self.own.get(key)
        if value is None:
            if key in self.own and is_missing(own):
                return own
            raise KeyError(key)
        # a column with gaps makes floats of integers
        value = own if isinstance(own, str | int) and own == value else value
        if self._table[key].dtype.name != "category":
            return value
        # imports pandas, which a cohort has but recordings alone do not need
        from ._demographics import mark_category

        return mark_category(value)

    def __iter__(self) -> Iterator[str]:
        return (key for key in dict.fromkeys([*self.own, *self._table.columns]) if key in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))


def _with_metadata(recording: Recording, metadata: Mapping[str, Any]) -> Recording:
    copied = object.__new__(type(recording))
    copied.__dict__.update({**recording.__dict__, "metadata": metadata})
    return copied


def _check_rows(metadata: pd.DataFrame, ids: list[Any], by_order: bool) -> pd.DataFrame:
    """The table, with the recordings' ids as its index if it has none."""
    import pandas as pd

    if not isinstance(metadata, pd.DataFrame):
        raise InvalidRecordingError(
            f"metadata is {shown(metadata)}; accepted is a DataFrame with a row per recording. "
            "Make one of a dict: pd.DataFrame(metadata, index=ids)."
        )
    if len(metadata) != len(ids):
        raise InvalidRecordingError(
            f"metadata has {len(metadata)} rows for {len(ids)} recordings; accepted is one "
            "row per recording, in the same order."
        )
    repeated = metadata.columns[metadata.columns.duplicated()]
    if len(repeated):
        raise InvalidRecordingError(
            f"metadata has more than one column {repeated[0]!r}; accepted is one of each name."
        )
    pairs = zip(metadata.index, ids, strict=True)
    wrong = [i for i, (label, id) in enumerate(pairs) if id is not None and not _named(label, id)]
    if not wrong:
        return metadata
    if by_order and isinstance(metadata.index, pd.RangeIndex):
        # by their own type: a missing one would make floats of integers
        dtype = object if any(id is None for id in ids) else None
        index = pd.Index(ids, name="recording", dtype=dtype, tupleize_cols=False)
        return metadata.set_axis(index, axis=0)
    i = wrong[0]
    raise InvalidRecordingError(
        f"row {i} of metadata is {metadata.index[i]!r}, recording {i} is {ids[i]!r}; accepted are "
        "rows in the order of the recordings, with their ids as index. Put them there with "
        "metadata.set_index(...), and in order with metadata.loc[[night.id for night in cohort]]."
    )


def _named(label: Any, id: Any) -> bool:
    """Whether a label of an index is an id; a gap in the index makes floats of integers."""
    is_whole = isinstance(label, float | np.floating) and float(label).is_integer()
    return str(label) == str(id) or (is_whole and str(int(label)) == str(id))


def _check_failures(failures: Any) -> list[tuple[str, str]]:
    pairs: list[Any] = list(failures) if isinstance(failures, list | tuple) else [None]
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise InvalidRecordingError(
            f"failures is {shown(failures)}; accepted are pairs of a path and a reason, or a table "
            "of these columns. Leave it out if everything was read."
        )
    return pairs


def _concat(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Rows of two tables; categories that differ are joined, not lost."""
    import pandas as pd

    first, second = first.copy(), second.copy()
    for name in first.columns.intersection(second.columns):
        if all(isinstance(t[name].dtype, pd.CategoricalDtype) for t in (first, second)):
            categories = first[name].cat.categories.union(second[name].cat.categories, sort=False)
            first[name] = first[name].cat.set_categories(categories)
            second[name] = second[name].cat.set_categories(categories)
    return pd.concat([first, second])


_TOPICS = ("derived", "left_out", "labels", "notes")
_REPORT_COLUMNS = [
    "subject", "start", "hours", "epochs", "epochs_scored", "modalities", "channels", *_TOPICS,
]  # fmt: skip


def _describe_night(recording: Recording) -> dict[str, Any]:
    """A row of the report, without its coverage."""
    stages, kept = recording.stages, recording.derivations
    about: dict[str, list[str]] = {topic: [] for topic in _TOPICS}
    for note in recording.notes:
        about[_topic(note)].append(str(note))
    if not about["labels"]:
        about["labels"] = ["none" if stages is None else "as scored, not moved"]
    joint = " or " if recording.derivation_mode == "one" else " + "
    facts = (
        recording.subject, recording.start, recording.duration / 3600, recording.n_epochs,
        0 if stages is None else int((stages >= 0).sum()), ", ".join(recording.modalities),
        "; ".join(f"{name}: {joint.join(labels)}" for name, labels in kept.items()),
    )  # fmt: skip
    texts = ("; ".join(about[topic]) for topic in _TOPICS)
    return dict(zip(_REPORT_COLUMNS, (*facts, *texts), strict=True))


def _measure_night(recording: Recording) -> dict[str, float]:
    """Hours of usable signal of each modality, and epochs filled by other derivations."""
    seconds, added = recording._measure_coverage()
    filled = added if recording.derivation_mode == "fill" else {}
    hours = {f"coverage_{name}": value / 3600 for name, value in seconds.items()}
    return hours | {f"filled_{name}": n for name, n in filled.items()}


def _topic(note: str) -> str:
    text = note.lower()
    if ": derived from" in text:
        return "derived"
    if any(word in text for word in ("label", "stage", "scor", "hypnogram", "lights")):
        # a channel that was left out is named by its label
        return "left_out" if "channel" in text else "labels"
    left_out = ("left out", "gap", "cut", "truncated", "without")
    return "left_out" if any(word in text for word in left_out) else "notes"
