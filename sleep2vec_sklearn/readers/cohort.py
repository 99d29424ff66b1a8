# SPDX-License-Identifier: BSD-3-Clause
"""A cohort from a folder or a table of paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from .._warnings import warn
from ..errors import ReadError, RecordingWarning, Sleep2VecError
from ..recordings import Cohort, Recording
from ._edf_header import read_header
from .formats import SUFFIXES
from .recording import is_hypnogram_name, read_recording

__all__ = [
    "read_cohort",
]

_CONTROL = ("path", "hypnogram", "subject", "id")
_NAME_COLUMNS = ("path", "file", "filename", "file_name", "id", "recording", "nsrrid")


def read_cohort(
    source,
    *,
    pattern: str | None = None,
    metadata=None,
    on_error: str = "warn",
    modalities: Sequence[str] | None = None,
    channels: Mapping | None = None,
    derive: bool = True,
    n_jobs: int | None = None,
    verbose: int = 1,
) -> Cohort:
    """Read the nights of a study; only headers and labels now, samples when they are used.

    Parameters
    ----------
    source : path-like or DataFrame
        A folder, searched with its subfolders, or a table with a column ``path`` and, optionally,
        ``hypnogram``, ``subject``, ``id`` and any metadata. A folder that holds a
        ``metadata.csv`` with a column ``path`` is read by that table; paths in it are relative to
        the folder.
    pattern : str, optional
        Glob for the recordings in a folder, e.g. ``"**/*-PSG.edf"``. By default every file of a
        known format that is not a hypnogram.
    metadata : DataFrame or path-like, optional
        More columns, joined by file name, its stem or the recording's id: the first of the columns
        path, file, filename, id, recording, or else the index. In a file, these and ``subject``
        are text: a subject 0001 stays "0001".
    on_error : {"warn", "raise"}, default="warn"
        What to do with a night that cannot be read: leave it out, list it in ``failures`` and warn
        once for all of them; or raise.
    modalities, channels, derive : optional
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
    >>> cohort.metadata[["subject", "age", "sex"]]
                  subject   age sex
    recording
    sim-0001-n1  sim-0001  45.1   F
    sim-0002-n1  sim-0002  67.8   F
    sim-0003-n1  sim-0003  77.9   F
    """
    if on_error not in ("raise", "warn"):
        raise ValueError(f"on_error must be 'raise' or 'warn', got {on_error!r}.")
    table = _table_of(source, pattern)
    if metadata is not None:
        table = _join(table, metadata)
    options = {"modalities": modalities, "channels": channels, "derive": derive}
    results = _read_all(table, options, n_jobs, verbose)
    failures = [result for result in results if isinstance(result, tuple)]
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
    kept = [place for place, result in enumerate(results) if isinstance(result, Recording)]
    recordings = [results[place] for place in kept]
    return Cohort(recordings, _metadata_of(recordings, table.iloc[kept]), reasons)


def _table_of(source, pattern: str | None) -> pd.DataFrame:
    if isinstance(source, pd.DataFrame):
        if "path" not in source.columns:
            raise ReadError(
                f"the table has the columns {', '.join(map(str, source.columns))}; needed is "
                "'path', accepted are also 'hypnogram', 'subject', 'id' and any metadata."
            )
        return _with_ids(source.reset_index(drop=True), None)
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
            return _with_ids(table, folder)
    paths = sorted(folder.glob(pattern) if pattern else _nights_in(folder))
    if not paths:
        raise ReadError(
            f"{folder}: holds no recording{f' that matches {pattern!r}' if pattern else ''}; known "
            f"suffixes are {', '.join(SUFFIXES)}."
        )
    return _with_ids(pd.DataFrame({"path": [str(path) for path in paths]}), folder)


def _read_csv(path) -> pd.DataFrame:
    # names are text: the participants 0001 and 1 are two
    return pd.read_csv(path, dtype=dict.fromkeys((*_CONTROL, *_NAME_COLUMNS), str))


def _nights_in(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and not is_hypnogram_name(path)
        and not (path.suffix.lower() == ".eeg" and path.with_suffix(".vhdr").exists())
        and not _holds_labels_only(path)
    ]


def _holds_labels_only(path: Path) -> bool:
    if path.suffix.lower() not in (".edf", ".bdf"):
        return False
    try:
        return not read_header(path).signals
    except ReadError:
        return False


def _with_ids(table: pd.DataFrame, folder: Path | None) -> pd.DataFrame:
    """Give each night an id: its stem, or its path where stems repeat."""
    if table.empty:
        raise ReadError("the table has no rows; needed is one row per night.")
    paths = [Path(str(path)) for path in table["path"]]
    stems = pd.Series([path.stem for path in paths])
    repeated = stems.duplicated(keep=False).tolist()
    ids = []
    for path, again in zip(paths, repeated, strict=True):
        inside = folder is not None and folder in path.parents
        longer = path.relative_to(folder) if inside else path
        ids.append(longer.with_suffix("").as_posix() if again else path.stem)
    given = table["id"] if "id" in table.columns else pd.Series([None] * len(ids))
    chosen = [i if pd.isna(g) else str(g) for i, g in zip(ids, given, strict=True)]
    twice = pd.Series(chosen)[pd.Series(chosen).duplicated()]
    if len(twice):
        raise ReadError(
            f"two nights have the id {twice.iloc[0]!r}; accepted are unique ids. Drop the repeated "
            "row, or give a column 'id'."
        )
    return table.assign(id=chosen)


def _join(table: pd.DataFrame, metadata) -> pd.DataFrame:
    extra = metadata if isinstance(metadata, pd.DataFrame) else _read_csv(metadata)
    column = next((name for name in _NAME_COLUMNS if name in extra.columns), None)
    keys = extra.index if column is None else extra[column]
    rows = {}
    for place, key in enumerate(keys):
        rows[str(key)] = place
        rows.setdefault(Path(str(key)).name, place)
        rows.setdefault(Path(str(key)).stem, place)
    places = [
        next((rows[k] for k in (path, Path(path).name, Path(path).stem, id) if k in rows), -1)
        for path, id in zip(map(str, table["path"]), table["id"], strict=True)
    ]
    if all(place < 0 for place in places):
        raise ReadError(
            f"no row of metadata belongs to a night: its {column or 'index'} holds "
            f"{', '.join(repr(str(key)) for key in list(keys)[:3])}, the nights are called "
            f"{', '.join(repr(id) for id in table['id'].tolist()[:3])}. Name them alike."
        )
    added = extra.drop(columns=[column] if column else []).reset_index(drop=True)
    added = added.reindex([place if place >= 0 else len(extra) for place in places])
    added = added[[name for name in added.columns if name not in ("path", "id")]]
    kept = table.drop(columns=[name for name in added.columns if name in table.columns])
    return pd.concat([kept, added.reset_index(drop=True)], axis=1)


def _read_all(table: pd.DataFrame, options: dict, n_jobs: int | None, verbose: int) -> list:
    from joblib import Parallel, delayed
    from tqdm.auto import tqdm

    rows = table.to_dict("records")
    work = (delayed(_read_night)(row, options) for row in rows)
    results = Parallel(n_jobs=n_jobs, backend="threading", return_as="generator")(work)
    return list(tqdm(results, total=len(rows), desc="reading", unit="night", disable=not verbose))


def _read_night(row: dict, options: dict):
    """Read one night, or say why not: (path, reason, error)."""
    present = {key: value for key, value in row.items() if not _is_missing(value)}
    try:
        return read_recording(
            present["path"],
            hypnogram=present.get("hypnogram"),
            subject=present.get("subject"),
            id=present["id"],
            metadata={key: value for key, value in present.items() if key not in _CONTROL},
            **options,
        )
    except (Sleep2VecError, OSError, ImportError) as error:
        return str(row["path"]), str(error), error


def _is_missing(value) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def _metadata_of(recordings: list[Recording], table: pd.DataFrame) -> pd.DataFrame:
    found = pd.DataFrame([dict(recording.metadata) for recording in recordings])
    index = pd.Index([recording.id for recording in recordings], name="recording")
    columns = [c for c in table.columns if c not in (*_CONTROL, *found.columns)]
    frame = pd.concat([found, table[columns].reset_index(drop=True)], axis=1)
    frame.insert(0, "path", table["path"].astype(str).tolist())
    frame.insert(0, "subject", [recording.subject for recording in recordings])
    frame.index = index
    order = [c for c in table.columns if c in frame.columns and c not in ("subject", "path")]
    rest = [c for c in frame.columns if c not in order and c not in ("subject", "path")]
    return frame[["subject", "path", *order, *rest]]
