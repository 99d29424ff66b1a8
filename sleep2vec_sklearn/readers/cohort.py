# SPDX-License-Identifier: BSD-3-Clause
"""Cohorts from a folder or a table of paths."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NoReturn

import numpy as np
import pandas as pd

from .._arguments import check_number, check_option, check_text, is_missing, shown
from .._progress import progress_bar
from .._warnings import handed_on, listed, warn
from ..errors import ReadError, RecordingWarning, Sleep2VecError
from ..recordings._notes import warn_of_notes
from ..recordings.cohort import Cohort
from ..recordings.modality import list_modalities
from ..recordings.recording import Recording
from ..recordings.sources import check_mapping
from ._delimited import TEXT_SUFFIXES
from ._edf_header import read_header
from ._labels import is_hypnogram_name, settle_codes, warn_of_missing_stages
from ._montage import check_derivations
from ._nsrr import constant_covariates, find_tables, identify, read_covariates, visit_of
from ._tables import (
    NightKeys,
    fill,
    join,
    match_subjects,
    plain_names,
    read_table,
    with_subjects,
)
from .formats import SUFFIXES, ReadSettings
from .recording import read_night
from .wearables import group_files, is_wearable, joint_path, looks_wearable

_ARGUMENTS = ("path", "hypnogram", "subject", "id")
_SHEETS = (*TEXT_SUFFIXES, ".xlsx")
_LISTED = ("metadata.csv", "metadata.tsv", "metadata.xlsx", "participants.tsv",
           "participants.csv")  # fmt: skip
_ABOUT_PEOPLE = re.compile("subject|participant|patient|demographic|metadata|clinical", re.I)
# parts of a name that tell one night of a person from another, not one person from another
_VISIT_PART = re.compile(
    r"(ses|session|visit|night|nacht|nuit|day|month|year|week|baseline|follow-?up|psg|eegs?|edfs?|"
    r"rec|recordings?|records?|sleep|polysomnography|signals?|data|raw|exports?|study|n|v|d)"
    r"[-_ ]*\d{0,4}",
    re.IGNORECASE,
)
_DATE_PART = re.compile(r"(19|20)\d\d[-_. ]?[01]\d[-_. ]?[0-3]\d([-_ T].*)?")
# at the end of a name it may as well be the number of a subject
_LAST_PART = re.compile(
    r"([-_. ]+((n|night|v|visit|d|day|t|tp|wk?|week|m|month|ses|pre|post|baseline|bl|follow-?up|fu|"
    rf"psg|part)[-_ ]?\d{{0,2}}|\(\d\)|copy|{_DATE_PART.pattern})|(?<=\d)[nv]\d)$",
    re.IGNORECASE,
)
_FIRST_DATE = re.compile(r"(19|20)\d\d[-_. ]?[01]\d[-_. ]?[0-3]\d[-_. ]+")
# of nights of which none could be read
_MOST_REASONS, _LONGEST_REASON = 10, 400
_NUMBER = re.compile(r"\d+")
_NUMBER_PART = re.compile(r"[\d\-_. ]+")


def read_cohort(
    source: str | PathLike[str] | pd.DataFrame | Sequence[str | PathLike[str]], *,
    pattern: str | None = None, metadata: pd.DataFrame | str | PathLike[str] | None = None,
    on: str | None = None, on_error: str = "warn", hypnogram: Literal[False] | None = None,
    modalities: str | Sequence[str] | None = None, channels: Mapping[str, Any] | None = None,
    units: Mapping[str, str] | None = None, derivations: str = "one", derive: bool = True,
    scorer: str | None = None, columns: Mapping[str, Any] | None = None,
    timezone: str | None = None, n_jobs: int | None = None, verbose: int = 0,
) -> Cohort:  # fmt: skip
    """Read the nights of a study: headers and labels now, samples on use.

    Parameters
    ----------
    source : path-like, DataFrame or list of path-like
        A folder, searched with its subfolders; the paths of recordings; or a table (also a CSV
        file, with paths relative to it) with a column ``path`` (a list for several files of one
        night) and, optionally, ``hypnogram``, ``subject``, ``id`` and any metadata. Files of a
        wearable that differ in a word such as hr or motion in their names are a night.
        In a folder, a ``metadata.csv`` with a column ``path`` is used as that table, one without it
        and a ``participants.tsv`` are joined like ``metadata``, and so are the tables of a study of
        the NSRR, in the folder or in ``datasets`` beside it.
    pattern : str, optional
        Glob for the recordings in a folder, e.g. ``"**/*-PSG.edf"``. By default every file of a
        known format that is not a hypnogram.
    metadata : DataFrame or path-like, optional
        More columns, with one row per recording, per subject (for all nights), or per subject and
        visit. Keys that repeat are refused; nights without a row are counted in a warning. In a
        file, keys are text: a subject 0001 stays "0001", and is found by 1 if nobody else is.
    on : str, optional
        What the rows of ``metadata`` are keyed by: ``"recording"`` (path, file name, its stem or
        id), ``"subject"``, or a column that holds either. By default the first column with a usual
        name, such as path, file, id, subject, participant_id or nsrrid; else the index.
    on_error : {"warn", "raise"}, default="warn"
        What to do if nights cannot be read, whatever the reason: leave them out, list them in
        ``failures`` and warn once; or raise.
    hypnogram : False, optional
        False reads no labels, neither of files beside the recordings, of a table's column, nor of
        annotations; by default those that are found.
    modalities, channels, units, derivations, derive, scorer, columns, timezone : optional
        As in :func:`read_recording`, for all nights.
    n_jobs : int, optional
        Threads that read headers.
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    Cohort
        With ``metadata`` (one row per night) and ``failures`` (path, reason).

    Raises
    ------
    ReadError
        If there is no night, or none could be read, with the reasons; if two nights have one name,
        or a row of a table fits two nights or, where rows are of subjects, two subjects.
    UnknownModalityError
        If ``modalities`` or ``channels`` name one that is not in the catalogue.

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
    check_option("on_error", on_error, ("raise", "warn"))
    if n_jobs is not None and check_number("n_jobs", n_jobs, -1000, 1000, whole=True) == 0:
        raise ValueError("n_jobs must be None or a whole number other than 0, got 0.")
    for name, text in (("pattern", pattern), ("on", on)):
        if text is not None:
            check_text(name, text)
    if hypnogram is not None and hypnogram is not False:
        raise ValueError(
            f"hypnogram is {shown(hypnogram)}; accepted for all nights is False, which reads no "
            "labels. Name the files of labels in a table with columns path and hypnogram."
        )
    check_derivations(derivations)
    # a wrong name is an error of the call, not of each night
    list_modalities(modalities)
    list_modalities(list(check_mapping("channels", channels)))
    table = _list_nights(source, pattern, metadata is not None)
    if metadata is not None:
        is_table = isinstance(metadata, pd.DataFrame)
        what = "metadata" if is_table else str(metadata)
        extra = metadata if is_table else read_table(metadata)
        table = join(table, _name_nights(table), extra, on, what)
    elif on is not None:
        raise ValueError(f"on is {on!r}, but there is no metadata whose rows it could name.")
    table = _add_covariates(table, source)
    _warn_of_subjects(table)
    settings = ReadSettings(
        modalities, channels, units, derivations, derive, scorer, columns, timezone
    )
    # without the covariates, of which tables of studies have a thousand
    given = table[[name for name in _ARGUMENTS if name in table.columns]].to_dict("records")
    if hypnogram is False:
        given = [{**row, "hypnogram": False} for row in given]
    results = _read_all(given, settings, n_jobs, verbose)
    results = settle_codes(
        results, lambda i, coding: _read_night(given[i], replace(settings, coding=coding))
    )
    failures = [result for result in results if not isinstance(result, Recording)]
    if failures and on_error == "raise":
        _raise(*failures[0])
    reasons = [(path, reason) for path, reason, _ in failures]
    if len(failures) == len(results):
        raise ReadError(
            f"none of {len(results)} nights could be read. {_list_reasons(reasons)}"
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
    warn_of_missing_stages(
        recording
        for i, recording in zip(rows, recordings, strict=True)
        if given[i].get("hypnogram") is not False and not is_wearable(given[i]["path"])
    )
    return Cohort(recordings, _merge_metadata(recordings, table.iloc[rows]), reasons)


def _list_reasons(reasons: Sequence[tuple[str, str]]) -> str:
    """Why nights could not be read, the most frequent reason first, each with its first night."""
    groups: dict[str, list[str]] = defaultdict(list)
    for path, reason in reasons:
        # one reason names each file that it is of
        kind = reason.replace(path, "").replace(Path(path).name, "")
        groups[_NUMBER.sub("", kind)].append(reason)
    first = f"The first: {reasons[0][1]}"
    if len(groups) == 1:
        return first
    found = sorted(groups.values(), key=len, reverse=True)
    texts = [f"{len(of_kind)} as {of_kind[0][:_LONGEST_REASON]}" for of_kind in found]
    more = f"; and {len(texts) - _MOST_REASONS} more reasons" if texts[_MOST_REASONS:] else ""
    return f"{first} All {len(texts)} reasons: {'; '.join(texts[:_MOST_REASONS])}{more}."


def _list_nights(
    source: str | PathLike[str] | pd.DataFrame | Sequence[str | PathLike[str]],
    pattern: str | None,
    has_metadata: bool,
) -> pd.DataFrame:
    """One row per night, with columns path, id and subject."""
    if isinstance(source, pd.DataFrame):
        # as in Cohort.metadata
        has_ids = source.index.name in ("id", "recording") and "id" not in source.columns
        table = source.rename_axis("id").reset_index(drop=not has_ids)
        return _list_table(table, None, "the table")
    if not isinstance(source, str | PathLike):
        return _list_paths(source)
    folder = Path(source)
    if folder.is_file() and folder.suffix.lower() in _SHEETS:
        return _list_table(read_table(folder), folder.parent, str(folder))
    if not folder.is_dir():
        raise ReadError(
            f"{folder}: no such folder. Pass a folder, a list of paths, or a table with a column "
            "'path' (a DataFrame or CSV file); for a single file there is read_recording."
        )
    listed = _read_listed(folder)
    lists = [path for path, table in listed.items() if "path" in table.columns.str.lower()]
    if lists and pattern is None:
        nights = _list_table(listed.pop(lists[0]), folder, str(lists[0]))
        _warn_of_unlisted(folder, nights["path"].dropna(), lists[0])
    else:
        nights = _search(folder, pattern)
    # the last that states a column has precedence
    for path, table in reversed(listed.items()):
        table = _resolve(table, folder, ("hypnogram",))
        nights = join(nights, _name_nights(nights), table, None, str(path))
    sessions = _read_sessions(folder)
    if sessions is not None:
        what = f"{folder}/*_sessions.tsv"
        joined = join(nights, _name_nights(nights), sessions, "subject", what)
        nights = fill(joined, nights, np.arange(len(nights)))
    if not has_metadata:
        _warn_of_tables(folder, {_path_of(path).stem for path in nights["path"].dropna()})
    return nights


def _read_listed(folder: Path) -> dict[Path, pd.DataFrame]:
    """Tables of metadata by their names in any case; one that needs openpyxl is warned of."""
    paths = [path for path in folder.iterdir() if path.name.lower() in _LISTED and path.is_file()]
    tables = {}
    for path in sorted(paths, key=lambda path: _LISTED.index(path.name.lower())):
        try:
            tables[path] = read_table(path)
        except ImportError as error:
            warn(f"a table is not used. {error}", RecordingWarning)
    return tables


def _read_sessions(folder: Path) -> pd.DataFrame | None:
    """What a BIDS folder states of each session, in a table per subject; None if nothing."""
    tables = [read_table(path).assign(subject=path.parent.name)
              for path in sorted(folder.glob("sub-*/sub-*_sessions.tsv"))]  # fmt: skip
    return pd.concat(tables, ignore_index=True) if tables else None


def _warn_of_tables(folder: Path, stems: set[str]) -> None:
    """Warn of a table that seems to be of subjects, as nobody asked for it."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in (".csv", ".tsv", ".xlsx"):
            continue
        ends = [match.start() for match in re.finditer(r"[-_. ]|$", path.stem)]
        of_a_night = is_hypnogram_name(path) or any(path.stem[:end] in stems for end in ends)
        if of_a_night or path.name.lower() in _LISTED:
            continue
        if _ABOUT_PEOPLE.search(path.stem):
            warn(f"{path} is not used. Pass it as metadata=.", RecordingWarning)


def _warn_of_unlisted(folder: Path, listed_paths: pd.Series, table: Path) -> None:
    """Warn of recordings in a folder that the table of its nights does not list."""
    known = {os.path.realpath(file) for file in listed_paths.explode()}
    suffixes = {Path(file).suffix.lower() for file in known}
    found = (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in suffixes)
    others = [path for path in found if os.path.realpath(path) not in known and _is_night(path)]
    if others:
        warn(
            f"{len(others)} recordings of {folder} are not in {table.name} and are not read, such "
            f"as {others[0]}. Add them to the table, or pass pattern= to read all of the folder.",
            RecordingWarning,
        )


def _search(folder: Path, pattern: str | None) -> pd.DataFrame:
    paths = sorted(folder.glob(pattern) if pattern else filter(_is_night, folder.rglob("*")))
    odd = [path for path in paths if "\N{REPLACEMENT CHARACTER}" in _as_text(path)]
    if odd:
        warn(
            f"{len(odd)} recordings, such as {_as_text(odd[0])}, are left out, as their names are "
            "no text in UTF-8. Rename them.",
            RecordingWarning,
        )
        paths = [path for path in paths if path not in odd]
    copies = [path for path in paths if "derivatives" in path.relative_to(folder).parts]
    if not pattern and 0 < len(copies) < len(paths):
        warn(
            f"{len(copies)} recordings in derivatives, such as {copies[0]}, are left out, as BIDS "
            "keeps processed copies of others there. Read them by their own folder or pattern=.",
            RecordingWarning,
        )
        paths = [path for path in paths if path not in copies]
    if paths:
        return _add_names(_group(paths), folder)
    files = () if pattern else folder.rglob("*")
    tables = sorted(file for file in files if file.suffix.lower() in TEXT_SUFFIXES)
    tables = [table for table in tables if not is_hypnogram_name(table)]
    if tables:
        suffixes = ", ".join(sorted({path.suffix.lower() for path in tables}))
        raise ReadError(
            f"{folder}: holds no recording; of its {len(tables):,} tables ({suffixes}), such as "
            f"{tables[0].name}, none names a time and a signal in its header. Pass "
            "DataFrame({'path': [...]}) instead of the folder, with columns=, e.g. "
            "columns={'time': 'Time', 'heart_rate': 'Value'}."
        )
    raise ReadError(
        f"{folder}: holds no recording{f' that matches {pattern!r}' if pattern else ''}; known "
        f"suffixes are {', '.join(SUFFIXES)}."
    )


def _as_text(path: Path) -> str:
    """A path whose bytes that are no UTF-8, of which tables can hold none, are marked."""
    return os.fsencode(path).decode("utf-8", "replace")


def _list_paths(source: Any) -> pd.DataFrame:
    paths = [] if isinstance(source, Mapping) or not hasattr(source, "__iter__") else list(source)
    wrong = [path for path in paths if not isinstance(path, str | PathLike)]
    if wrong or not paths:
        found = type(wrong[0]).__name__ if wrong else type(source).__name__
        raise ReadError(
            f"source is of type {type(source).__name__} and holds {found}; accepted are a folder, "
            "a table with a column 'path', and a list of one path or more."
        )
    return _add_names(_group([Path(path) for path in paths]), None)


def _group(paths: Sequence[Path]) -> pd.DataFrame:
    """Paths of nights, of which the files of a wearable are one; a warning if that is open."""
    nights, unsure = group_files(paths)
    others = {path.with_suffix(""): path for path in paths if not is_wearable(path)}
    reasons: dict[str, list[str]] = {}
    for first, second, *_ in unsure:
        beside = others.get(joint_path([first, second]).with_suffix(""))
        kind = "hold the same quantity" if beside is None else "lie beside a recording of that name"
        text = f"{first} and {second}{f' beside {beside}' if beside else ''}"
        reasons.setdefault(kind, []).append(text)
    for kind, found in reasons.items():
        warn(
            f"{len(found)} names are those of several files of wearables that {kind}, as "
            f"{found[0]}; each is read as a night and a subject. If they are one, pass a table "
            "with columns path (which may hold lists of files) and subject.",
            RecordingWarning,
        )
    return pd.DataFrame({"path": pd.Series(nights, dtype=object)})


def _path_of(path: Any) -> Path:
    """The path that names a night, which may be several files."""
    if isinstance(path, list | tuple):
        return joint_path([Path(file) for file in path])
    return Path(str(path))


def _list_table(table: pd.DataFrame, folder: Path | None, name: str) -> pd.DataFrame:
    """The nights of a table, whose paths are relative to a folder."""
    table = with_subjects(plain_names(table))
    if table.empty:
        raise ReadError(f"{name} has no rows; needed is one row per night. Fill it in.")
    if "path" not in table.columns:
        raise ReadError(
            f"{name} has the columns {', '.join(map(str, table.columns))}; needed is "
            "'path', accepted are also 'hypnogram', 'subject', 'id' and any metadata."
        )
    repeated = table.columns[table.columns.duplicated()]
    if len(repeated):
        raise ReadError(f"{name} has more than one column {repeated[0]!r}; drop one of them.")
    return _add_names(_resolve(table, folder, ("path", "hypnogram")), folder)


def _resolve(table: pd.DataFrame, folder: Path | None, columns: Sequence[str]) -> pd.DataFrame:
    """The table with the paths of some columns as seen from here; None where there is none."""
    if folder is None:
        return table
    for column in set(columns) & set(table.columns):
        table = table.assign(**{column: [_inside(folder, name) for name in table[column]]})
    return table


def _inside(folder: Path, name: Any) -> Any:
    if isinstance(name, list | tuple):
        return [_inside(folder, file) for file in name]
    if str(name).lower() == "false":  # no hypnogram
        return False
    if not isinstance(name, str) or not name:
        return None
    # of a table written under Windows
    is_foreign = "\\" in name and not (folder / name).exists()
    return str(folder / (name.replace("\\", "/") if is_foreign else name))


def _is_night(path: Path) -> bool:
    suffix = path.suffix.lower()
    # the recordings of the WSC are called so too, labels of that name are XML
    name = path.with_name(path.stem.removesuffix("-nsrr") or path.name)
    if suffix not in SUFFIXES or path.name.startswith(".") or is_hypnogram_name(name):
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


def _add_names(table: pd.DataFrame, folder: Path | None) -> pd.DataFrame:
    """The table with an id and a subject for each night, as stated or by its path.

    The id is the stem, or the path if stems repeat.
    """
    paths = [_path_of(path) for path in table["path"]]
    folder = _common_folder(paths) if folder is None else folder
    relative = [path.relative_to(folder) if folder in path.parents else path for path in paths]
    counts = Counter(path.stem for path in paths)
    ids = [
        path.stem if counts[path.stem] == 1 else inside.with_suffix("").as_posix()
        for path, inside in zip(paths, relative, strict=True)
    ]
    for i in np.flatnonzero(table["path"].isna()):
        ids[i] = f"row {i + 1}"
    ids = _stated_or(table, "id", ids)
    repeated = [id for id, count in Counter(ids).items() if count > 1]
    if repeated:
        first, second = [str(p) for p, id in zip(paths, ids, strict=True) if id == repeated[0]][:2]
        raise ReadError(
            f"two nights have the id {repeated[0]!r}, {first} and {second}; accepted are unique "
            "ids. Drop the repeated row or give a column 'id'; in a folder, rename one file or "
            "choose with pattern=."
        )
    if "subject" in table.columns and table["subject"].notna().all():
        return table.assign(id=ids)
    subjects = _find_subjects(paths, relative, "id" in table.columns)
    return table.assign(id=ids, subject=_stated_or(table, "subject", subjects))


def _common_folder(paths: Sequence[Path]) -> Path:
    try:
        return Path(os.path.commonpath([path.parent for path in paths]))
    except ValueError:  # absolute and relative paths, or several drives
        return Path()


def _stated_or(table: pd.DataFrame, column: str, values: list[Any]) -> list[Any]:
    """The values of a column, as text if they are ids, and others where it states none."""
    if column not in table.columns:
        return values
    stated = [None if pd.isna(value) else value for value in table[column]]
    if column == "id":
        stated = [None if value is None else str(value) for value in stated]
    return [own if value is None else value for value, own in zip(stated, values, strict=True)]


def _find_subjects(paths: Sequence[Path], relative: Sequence[Path], has_ids: bool) -> list[str]:
    """Subject of each night by its name; by its folder where names repeat from one to another."""
    who = [identify(path) for path in paths]
    repeated = _repeated_names(paths)
    for i, j in ((places[0], places[1]) for places in repeated):
        if who[i].known and not has_ids:
            raise ReadError(
                f"the night {paths[i].stem!r} is there twice, {paths[i]} and {paths[j]}. Leave one "
                "out by pattern=, or pass a table with columns path, id and subject."
            )
    subjects = [identity.subject for identity in who]
    folders = {relative[i].parent for places in repeated for i in places if not who[i].known}
    for i, inside in enumerate(relative):
        if not who[i].known and inside.parent in folders:
            subjects[i] = _subject_by_folder(inside, paths)
    return subjects


def _repeated_names(paths: Sequence[Path]) -> list[list[int]]:
    """Positions of the recordings of each name that several have."""
    by_stem = defaultdict(list)
    for i, path in enumerate(paths):
        by_stem[path.stem].append(i)
    return [places for places in by_stem.values() if len(places) > 1]


def _warn_of_subjects(table: pd.DataFrame) -> None:
    """Warn of folders that may be sites, names that may be visits, and subjects that are mixed."""
    paths = [_path_of(path) for path in table["path"]]
    who, subjects = [identify(path) for path in paths], table["subject"].tolist()
    has_folders = len({path.parent for path in paths}) > 1
    unsure = [
        places
        for places in _repeated_names(paths)
        if not _VISIT_PART.fullmatch(paths[places[0]].stem)
        and not who[places[0]].known
        and len({subjects[i] for i in places}) > 1
        and all(str(subjects[i]) in paths[i].parent.as_posix() for i in places)
    ]
    if unsure:
        i, j = unsure[0][:2]
        warn(
            f"{len(unsure)} names of recordings are in several folders, as {paths[i]} and "
            f"{paths[j]}. Their folders are taken as subjects ({subjects[i]!r}, {subjects[j]!r}); "
            "if they are sites, pass a table with columns path and subject.",
            RecordingWarning,
        )
    owners: dict[str, set[Any]] = defaultdict(set)
    for file, subject in table[["path", "subject"]].explode("path").dropna().to_numpy():
        owners[os.path.realpath(_path_of(file))].add(subject)
    shared = [(file, *map(repr, names)) for file, names in owners.items() if len(names) > 1]
    if shared:
        warn(
            f"{len(shared)} files are nights of two subjects: {shared[0][0]}, for example, of "
            f"{' and '.join(sorted(shared[0][1:]))}. Correct the path or the subject.",
            RecordingWarning,
        )
    alike: dict[Path, dict[str, None]] = defaultdict(dict)
    studies: dict[Any, dict[str, Path]] = defaultdict(dict)
    for path, identity, subject in zip(paths, who, subjects, strict=True):
        if subject == path.stem:
            # behind a sign, as folders may name the subjects and files the visits only
            base = _LAST_PART.sub("", f"_{_FIRST_DATE.sub('', path.stem, count=1)}").lower()
            if base or has_folders:
                alike[path.parent / base][path.stem] = None
        if identity.study is not None:
            studies[subject].setdefault(identity.study, path)
    visits = [list(names) for names in alike.values() if len(names) > 1]
    if visits:
        warn(
            f"{sum(map(len, visits))} nights are each read as a subject, though their names seem "
            f"to tell visits of one apart, as {visits[0][0]!r} and {visits[0][1]!r}. If they do, "
            "pass a table with columns path and subject, or one may be in training and test.",
            RecordingWarning,
        )
    mixed = [(subject, *found.values()) for subject, found in studies.items() if len(found) > 1]
    if mixed:
        subject, first, second = mixed[0][:3]
        warn(
            f"{len(mixed)} subjects have nights of two studies: {subject!r}, for example, {first} "
            f"and {second}. Write subjects with the study if they are two participants.",
            RecordingWarning,
        )


def _subject_by_folder(path: Path, paths: Sequence[Path]) -> str:
    """The folders of a night without those that name a visit, and its stem if it is a name."""
    parts = [part for part in path.parent.parts if part != path.anchor]
    named = [part for part in parts if not _VISIT_PART.fullmatch(part)]
    named = named[:1] + [part for part in named[1:] if not _DATE_PART.fullmatch(part)]
    numbers = [part for part in named if _NUMBER_PART.fullmatch(part)]
    if numbers and len(named) > 1:
        others = [str(other) for other in paths if other.stem == path.stem][:2]
        raise ReadError(
            f"whose nights are {' and '.join(others)}? Their names repeat, and the folder "
            f"{numbers[0]!r} may be a person or a visit. Pass a table with columns path and "
            "subject."
        )
    if not named or (len(named) < len(parts) and not _VISIT_PART.fullmatch(path.stem)):
        named.append(path.stem)
    return "/".join(named)


def _name_nights(table: pd.DataFrame) -> list[NightKeys]:
    """The keys by which a table of metadata may name each night."""
    nights = []
    columns = (map(str, map(_path_of, table["path"])), table["id"], table["subject"])
    for path, id, subject in zip(*columns, strict=True):
        identity, parts = identify(Path(path)), Path(path).parts
        ends = ["/".join(parts[-n:]) for n in (4, 3, 2, 1) if n <= len(parts)]
        forms = (path, id, *ends, *(str(Path(end).with_suffix("")) for end in ends))
        known = [] if identity.participant is None else [identity.participant]
        subjects = (str(subject), *known) if identity.subject == subject else (str(subject),)
        nights.append(NightKeys(id, forms, subjects, visit_of(identity)))
    return nights


def _add_covariates(table: pd.DataFrame, source: Any) -> pd.DataFrame:
    """Age, sex, BMI, race and harmonized columns from the tables of NSRR studies, if there."""
    of_study: dict[str, list[int]] = defaultdict(list)
    for i, path in enumerate(table["path"]):
        if (study := identify(_path_of(path)).study) is not None:
            of_study[study].append(i)
    if not of_study:
        return table
    nights = _name_nights(table)
    is_folder = isinstance(source, str | PathLike) and Path(source).is_dir()
    folder = Path(source) if is_folder else _common_folder([_path_of(p) for p in table["path"]])
    tables = find_tables(folder, of_study)
    unmatched = {found.study.name: {*of_study[found.study.name]} for found in tables}
    constants = []
    for found in tables:
        extra = read_covariates(found)
        own = of_study[found.study.name]
        rows, repeated = _match_participants(nights, own, extra)
        if repeated is not None:
            raise ReadError(
                f"{found.path} has more than one row for the participant {repeated!r} and one "
                "visit; accepted is one. Drop the others, or move the table out of the folder."
            )
        table = fill(table, extra.drop(columns=["participant", "visit"]), rows)
        unmatched[found.study.name] &= {i for i in own if rows[i] < 0}
        constants.append((own, constant_covariates(extra)))
    # after all tables, as what is stated for the visit has precedence
    for own, extra in constants:
        rows, _ = _match_participants(nights, own, extra)
        table = fill(table, extra.drop(columns="participant"), rows)
    for name, missing in unmatched.items():
        _warn_of_gaps(name, [nights[i].name for i in sorted(missing)], table.iloc[of_study[name]])
    return table


def _match_participants(
    nights: Sequence[NightKeys], own: list[int], extra: pd.DataFrame
) -> tuple[np.ndarray, str | None]:
    """The row of each night of a study, -1 for others, and a participant that has several."""
    keys = [None if key is None else str(key) for key in extra["participant"]]
    rows = np.full(len(nights), -1)
    rows[own], repeated = match_subjects([nights[i] for i in own], keys, extra)
    return rows, repeated


def _warn_of_gaps(study: str, missing: list[str], table: pd.DataFrame) -> None:
    """Warn of nights of a study without a row, or without an age or sex that others have."""
    texts = [
        f"{len(table) - len(missing)} of {len(table)} nights of {study} have a row in the tables "
        f"of datasets{f'; without: {listed([*map(repr, missing)], 3)}' if missing else ''}"
    ]
    for name in ("age", "sex"):
        if name in table.columns and 0 < (n := int(table[name].isna().sum())) < len(table):
            ids = listed([repr(id) for id in table["id"][table[name].isna()]], 3)
            texts.append(f"{n} of {len(table)} nights of {study} have no {name} in them: {ids}")
    if missing or len(texts) > 1:
        warn(f"{'. '.join(texts)}.", RecordingWarning)


_Failure = tuple[str, str, Exception]


def _read_all(
    rows: list[dict[str, Any]], settings: ReadSettings, n_jobs: int | None, verbose: int
) -> list[Recording | _Failure]:
    from joblib import Parallel, delayed

    read, results = handed_on(_read_night), []
    work = (delayed(read)(row, settings) for row in rows)
    with progress_bar(verbose, total=len(rows), desc="reading", unit="night") as bar:
        for result in Parallel(n_jobs=n_jobs, backend="threading", return_as="generator")(work):
            results.append(result)
            bar.update()
    return results


def _read_night(row: dict[str, Any], settings: ReadSettings) -> Recording | _Failure:
    """One night, or (path, reason, error)."""
    arguments = {name: value for name, value in row.items() if not is_missing(value)}
    try:
        if "path" not in arguments:
            raise ReadError(f"a row of the table has no path ({row['id']}). Fill it in or drop it.")
        return read_night(**arguments, settings=settings)
    except Exception as error:
        # whatever a damaged file makes other libraries raise, it costs one night
        return _shown(row["path"]), f"{type(error).__name__}: {error}", error


def _raise(path: str, reason: str, error: Exception) -> NoReturn:
    if isinstance(error, Sleep2VecError | OSError | ImportError):
        raise error
    raise ReadError(
        f"{path} cannot be read ({reason}). Check the file, or leave it out."
    ) from error


def _shown(path: Any) -> str:
    return ", ".join(map(str, path)) if isinstance(path, list | tuple) else str(path)


def _merge_metadata(recordings: list[Recording], table: pd.DataFrame) -> pd.DataFrame:
    """The table's columns, with what the files state where it has nothing."""
    index = pd.Index([recording.id for recording in recordings], name="recording")
    stated = pd.DataFrame([dict(recording.metadata) for recording in recordings], index=index)
    frame = table.drop(columns=["hypnogram", "id"], errors="ignore").set_axis(index)
    frame = frame.assign(
        subject=[recording.subject for recording in recordings],
        path=[_shown(path) for path in frame["path"]],
    )
    frame = fill(frame, stated, np.arange(len(recordings)))
    return frame[list(dict.fromkeys(["subject", "path", *frame.columns]))]
