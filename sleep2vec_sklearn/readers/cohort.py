# SPDX-License-Identifier: BSD-3-Clause
"""Cohorts from a folder or a table of paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import pandas as pd

from .._warnings import warn
from ..errors import ReadError, RecordingWarning, Sleep2VecError
from ..recordings._notes import warn_of_notes
from ..recordings.recording import Cohort, Recording
from ._edf_header import read_header
from .formats import SUFFIXES
from .recording import is_hypnogram_name, read_night
from .wearables import is_wearable, looks_wearable

_ARGUMENTS = ("path", "hypnogram", "subject", "id")
_NAME_COLUMNS = ("path", "file", "filename", "file_name", "id", "recording", "nsrrid")


def read_cohort(
    source: str | PathLike[str] | pd.DataFrame, *, pattern: str | None = None,
    metadata: pd.DataFrame | str | PathLike[str] | None = None, on_error: str = "warn",
    modalities: str | Sequence[str] | None = None, channels: Mapping[str, Any] | None = None,
    derive: bool = True, columns: Mapping[str, Any] | None = None, timezone: str | None = None,
    n_jobs: int | None = None, verbose: int = 1,
) -> Cohort:  # fmt: skip
    """Read the nights of a study: headers and labels now, samples on use.

    Parameters
    ----------
    source : path-like or DataFrame
        A folder, searched with its subfolders, or a table with a column ``path`` and, optionally,
        ``hypnogram``, ``subject``, ``id`` and any metadata. In a folder, a ``metadata.csv`` with a
        column ``path`` is used as that table; its paths are relative to the folder.
    pattern : str, optional
        Glob for the recordings in a folder, e.g. ``"**/*-PSG.edf"``. By default every file of a
        known format that is not a hypnogram.
    metadata : DataFrame or path-like, optional
        More columns, joined by file name, its stem or the recording's id: the first of the columns
        path, file, filename, id, recording, or else the index. In a file, these and ``subject``
        are text: a subject 0001 stays "0001".
    on_error : {"warn", "raise"}, default="warn"
        What to do if nights cannot be read: leave them out, list them in ``failures`` and warn
        once; or raise.
    modalities, channels, derive, columns, timezone : optional
        As in :func:`read_recording`, for all nights.
    n_jobs : int, optional
        Threads that read headers.
    verbose : int, default=1
        0 hides the progress bar.

    Returns
    -------
    Cohort
        With ``metadata`` (one row per night) and ``failures`` (path, reason).

    Raises
    ------
    ReadError
        If there is no night, or none could be read.

    Examples
    --------
    >>> from sleep2vec_sklearn import make_sleep_cohort, read_cohort
    >>> from sleep2vec_sklearn.datasets import write_edf_cohort
    >>> paths = write_edf_cohort(make_sleep_cohort(3, hours=0.5, random_state=0), "study")
    >>> cohort = read_cohort("study", modalities=["eeg", "spo2"], verbose=0)
    >>> cohort
    Cohort(3 recordings of 3 subjects)
    >>> cohort.metadata["age"].tolist()
    [45.1, 67.8, 77.9]
    """
    if on_error not in ("raise", "warn"):
        raise ValueError(f"on_error must be 'raise' or 'warn', got {on_error!r}.")
    table = _list_nights(source, pattern)
    if metadata is not None:
        table = _join(table, metadata)
    options = {"modalities": modalities, "channels": channels, "derive": derive}
    options |= {"columns": columns, "timezone": timezone}
    results = _read_all(table, options, n_jobs, verbose)
    failures = [result for result in results if not isinstance(result, Recording)]
    if failures and on_error == "raise":
        raise failures[0][2]
    reasons = [(path, reason) for path, reason, _ in failures]
    if len(failures) == len(results):
        raise ReadError(
            f"none of {len(results)} nights could be read. The first: {reasons[0][1]}"
        ) from failures[0][2]
    if failures:
        warn(
            f"{len(failures)} of {len(results)} nights could not be read and were left out; see "
            f"cohort.failures. The first: {reasons[0][1]}",
            RecordingWarning,
        )
    rows = [i for i, result in enumerate(results) if isinstance(result, Recording)]
    recordings = [result for result in results if isinstance(result, Recording)]
    warn_of_notes(recordings)
    return Cohort(recordings, _merge_metadata(recordings, table.iloc[rows]), reasons)


def _list_nights(source: str | PathLike[str] | pd.DataFrame, pattern: str | None) -> pd.DataFrame:
    """One row per night, with columns path and id."""
    if isinstance(source, pd.DataFrame):
        if "path" not in source.columns:
            raise ReadError(
                f"the table has the columns {', '.join(map(str, source.columns))}; needed is "
                "'path', accepted are also 'hypnogram', 'subject', 'id' and any metadata."
            )
        return _add_ids(source.reset_index(drop=True), None)
    folder = Path(source)
    if not folder.is_dir():
        raise ReadError(
            f"{folder}: no such folder. Pass a folder, or a DataFrame with a column 'path'; for a "
            "single file there is read_recording."
        )
    listed = folder / "metadata.csv"
    if pattern is None and listed.is_file():
        table = _read_csv(listed)
        if "path" in table.columns:
            for column in {"path", "hypnogram"} & set(table.columns):
                table[column] = [
                    str(folder / name) if isinstance(name, str) and name else None
                    for name in table[column]
                ]
            return _add_ids(table, folder)
    paths = sorted(folder.glob(pattern) if pattern else filter(_is_night, folder.rglob("*")))
    if not paths:
        raise ReadError(
            f"{folder}: holds no recording{f' that matches {pattern!r}' if pattern else ''}; known "
            f"suffixes are {', '.join(SUFFIXES)}."
        )
    return _add_ids(pd.DataFrame({"path": [str(path) for path in paths]}), folder)


def _read_csv(path: str | PathLike[str]) -> pd.DataFrame:
    # names are text, as the subjects 0001 and 1 differ
    return pd.read_csv(path, dtype=dict.fromkeys((*_ARGUMENTS, *_NAME_COLUMNS), str))


def _is_night(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES or path.name.startswith(".") or is_hypnogram_name(path):
        return False
    if is_wearable(path):
        return looks_wearable(path)
    if suffix == ".eeg":
        return not path.with_suffix(".vhdr").exists()
    if suffix not in (".edf", ".bdf"):
        return True
    try:
        # without signals, the file holds annotations only
        return bool(read_header(path).signals)
    except ReadError:
        return True


def _add_ids(table: pd.DataFrame, folder: Path | None) -> pd.DataFrame:
    """The table with an id for each night: its stem, or its path if stems repeat."""
    if table.empty:
        raise ReadError("the table has no rows; needed is one row per night.")
    paths = [Path(str(path)) for path in table["path"]]
    counts = Counter(path.stem for path in paths)
    stated = table["id"] if "id" in table.columns else [None] * len(paths)
    ids = []
    for path, stated_id in zip(paths, stated, strict=True):
        if not pd.isna(stated_id):
            ids.append(str(stated_id))
        elif counts[path.stem] == 1:
            ids.append(path.stem)
        else:
            relative = path.relative_to(folder) if folder and folder in path.parents else path
            ids.append(relative.with_suffix("").as_posix())
    repeated = [id for id, count in Counter(ids).items() if count > 1]
    if repeated:
        raise ReadError(
            f"two nights have the id {repeated[0]!r}; accepted are unique ids. Drop the repeated "
            "row, or give a column 'id'."
        )
    return table.assign(id=ids)


def _join(table: pd.DataFrame, metadata: pd.DataFrame | str | PathLike[str]) -> pd.DataFrame:
    extra = metadata if isinstance(metadata, pd.DataFrame) else _read_csv(metadata)
    column = next((name for name in _NAME_COLUMNS if name in extra.columns), None)
    keys = [str(key) for key in (extra.index if column is None else extra[column])]
    index: dict[str, int] = {}
    for i, key in enumerate(keys):
        index[key] = i
        index.setdefault(Path(key).name, i)
        index.setdefault(Path(key).stem, i)
    rows = [
        next((index[k] for k in (path, Path(path).name, Path(path).stem, id) if k in index), -1)
        for path, id in zip(map(str, table["path"]), table["id"], strict=True)
    ]
    if all(row < 0 for row in rows):
        raise ReadError(
            f"no row of metadata belongs to a night: its {column or 'index'} holds "
            f"{', '.join(map(repr, keys[:3]))}, the nights are called "
            f"{', '.join(map(repr, table['id'].tolist()[:3]))}. Name them alike."
        )
    extra = extra.drop(columns=[column] if column else []).reset_index(drop=True)
    extra = extra.reindex([row if row >= 0 else len(extra) for row in rows])
    extra = extra[[name for name in extra.columns if name not in ("path", "id")]]
    table = table.drop(columns=[name for name in extra.columns if name in table.columns])
    return pd.concat([table, extra.reset_index(drop=True)], axis=1)


_Failure = tuple[str, str, Exception]


def _read_all(
    table: pd.DataFrame, options: dict[str, Any], n_jobs: int | None, verbose: int
) -> list[Recording | _Failure]:
    from joblib import Parallel, delayed
    from tqdm.auto import tqdm

    rows = table.to_dict("records")
    work = (delayed(_read_night)(row, options) for row in rows)
    results = Parallel(n_jobs=n_jobs, backend="threading", return_as="generator")(work)
    return list(tqdm(results, total=len(rows), desc="reading", unit="night", disable=not verbose))


def _read_night(row: dict[str, Any], options: dict[str, Any]) -> Recording | _Failure:
    """One night, or (path, reason, error)."""
    missing = [k for k, value in row.items() if pd.api.types.is_scalar(value) and pd.isna(value)]
    present = {key: value for key, value in row.items() if key not in missing}
    arguments = {name: present.pop(name) for name in _ARGUMENTS if name in present}
    try:
        if "path" not in arguments:
            raise ReadError(f"a row of the table has no path ({present}). Fill it in or drop it.")
        return read_night(**arguments, metadata=present, **options)
    except (Sleep2VecError, OSError, ImportError) as error:
        return str(row["path"]), str(error), error


def _merge_metadata(recordings: list[Recording], table: pd.DataFrame) -> pd.DataFrame:
    """Metadata of the recordings, and columns of the table that none of them has."""
    frame = pd.DataFrame([dict(recording.metadata) for recording in recordings])
    added = [c for c in table.columns if c not in (*_ARGUMENTS, *frame.columns)]
    frame = pd.concat([frame, table[added].reset_index(drop=True)], axis=1)
    frame["path"] = table["path"].astype(str).tolist()
    frame["subject"] = [recording.subject for recording in recordings]
    frame.index = pd.Index([recording.id for recording in recordings], name="recording")
    order = [c for c in table.columns if c in frame.columns]
    return frame[list(dict.fromkeys(["subject", "path", *order, *frame.columns]))]
