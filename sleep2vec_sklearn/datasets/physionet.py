# SPDX-License-Identifier: BSD-3-Clause
"""Download of PhysioNet's data sets.

pooch downloads, retries and verifies. PhysioNet publishes the sha256 of every file of a data set
as ``SHA256SUMS.txt``, which becomes pooch's registry. The list is trusted as far as https is; where
the hash of a file is known from elsewhere (``pinned``), a list that contradicts it is refused.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from .._download import download, import_pooch
from .._progress import progress_bar
from ..errors import ReadError
from ..readers._boundary import check_archive
from ..recordings.cohort import Cohort
from ._files import StrPath
from .apnea_ecg import load_apnea_ecg
from .bidsleep import load_bidsleep
from .mmash import load_mmash
from .sleep_accel import load_sleep_accel
from .sleep_edf import load_sleep_edf
from .slpdb import load_slpdb
from .ucddb import load_ucddb

if TYPE_CHECKING:
    import pooch

MIRROR = "https://physionet.org/files"
_SUMS = "SHA256SUMS.txt"
_RETRIES = 3


def fetch_sleep_edf(
    *, data_home: StrPath | None = None, records: Sequence[str] | None = None,
    download_if_missing: bool = True, mirror: str = MIRROR, verbose: int = 1,
) -> Cohort:  # fmt: skip
    """Fetch Sleep-EDF Expanded 1.0.0 and load it; 8 GB in total, about 50 MB a night.

    Existing files are not downloaded again, but verified by their sha256. An interrupted download
    is continued. Needs ``pip install sleep2vec-sklearn[fetch]``.

    Parameters
    ----------
    data_home : path-like, optional
        Folder for all data sets; the user's cache folder by default.
    records : sequence of str, optional
        Only nights whose names start with one of these, e.g. ``["SC4001", "SC401"]``. Letters
        after the sixth are ignored: they differ between a night and its hypnogram.
    download_if_missing : bool, default=True
        False never uses the network: a file that is missing is an error.
    mirror : str, default="https://physionet.org/files"
        Address that holds ``sleep-edfx/1.0.0/``.
    verbose : int, default=1
        0 hides the progress bars.

    Returns
    -------
    Cohort
        As :func:`load_sleep_edf`.

    Raises
    ------
    ImportError
        If pooch is not installed.
    ReadError
        If a file cannot be downloaded, or does not match its sha256.

    Examples
    --------
    >>> from sleep2vec_sklearn.datasets import fetch_sleep_edf
    >>> cohort = fetch_sleep_edf()  # doctest: +SKIP
    >>> fetch_sleep_edf(data_home=".", download_if_missing=False)
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: sleep-edfx/1.0.0: SHA256SUMS.txt missing, and ...
    """
    return _fetch(_DATASETS["sleep-edfx"], data_home, records, download_if_missing, mirror, verbose)


def fetch_slpdb(
    *, data_home: StrPath | None = None, records: Sequence[str] | None = None,
    download_if_missing: bool = True, mirror: str = MIRROR, verbose: int = 1,
) -> Cohort:  # fmt: skip
    """Fetch beats and stages of the MIT-BIH Polysomnographic Database 1.0.0 and load them; 1 MB.

    Parameters and errors are those of :func:`fetch_sleep_edf`, the cohort is that of
    :func:`load_slpdb`.

    Examples
    --------
    >>> from sleep2vec_sklearn.datasets import fetch_slpdb
    >>> fetch_slpdb(data_home=".", download_if_missing=False)
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: slpdb/1.0.0: SHA256SUMS.txt missing, and ...
    """
    return _fetch(_DATASETS["slpdb"], data_home, records, download_if_missing, mirror, verbose)


def fetch_apnea_ecg(
    *, data_home: StrPath | None = None, records: Sequence[str] | None = None,
    download_if_missing: bool = True, mirror: str = MIRROR, verbose: int = 1,
) -> Cohort:  # fmt: skip
    """Fetch beats and minutes with apnea of the Apnea-ECG Database 1.0.0 and load them; 5 MB.

    Parameters and errors are those of :func:`fetch_sleep_edf`, the cohort is that of
    :func:`load_apnea_ecg`.

    Examples
    --------
    >>> from sleep2vec_sklearn.datasets import fetch_apnea_ecg
    >>> fetch_apnea_ecg(data_home=".", download_if_missing=False)
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: apnea-ecg/1.0.0: SHA256SUMS.txt missing, and ...
    """
    return _fetch(_DATASETS["apnea-ecg"], data_home, records, download_if_missing, mirror, verbose)


def fetch_sleep_accel(
    *, data_home: StrPath | None = None, records: Sequence[str] | None = None, motion: bool = False,
    download_if_missing: bool = True, mirror: str = MIRROR, verbose: int = 1,
) -> Cohort:  # fmt: skip
    """Fetch heart rate and stages of sleep-accel 1.0.0 and load them.

    Other parameters and errors are those of :func:`fetch_sleep_edf`, the cohort is that of
    :func:`load_sleep_accel`.

    Parameters
    ----------
    motion : bool, default=False
        Also the acceleration, by far the largest part of the set; without it there is no
        ``actigraphy``.

    Examples
    --------
    >>> from sleep2vec_sklearn.datasets import fetch_sleep_accel
    >>> fetch_sleep_accel(data_home=".", download_if_missing=False)
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: sleep-accel/1.0.0: SHA256SUMS.txt missing, and ...
    """
    dataset = _DATASETS["sleep-accel"]
    if motion:
        dataset = replace(dataset, patterns=(*dataset.patterns, "motion/*_acceleration.txt"))
    return _fetch(dataset, data_home, records, download_if_missing, mirror, verbose)


def fetch_bidsleep(
    *,
    data_home: StrPath | None = None,
    records: Sequence[str] | None = None,
    motion: bool = False,
    download_if_missing: bool = True,
    mirror: str = MIRROR,
    verbose: int = 1,
) -> Cohort:
    """Fetch heart rate and stages of bidsleep-dataset 1.0.1 and load them.

    Other parameters and errors are those of :func:`fetch_sleep_edf`, the cohort is that of
    :func:`load_bidsleep`.

    Parameters
    ----------
    records : sequence of str, optional
        Only these subjects or nights, e.g. ``["Bidslab00", "Bidslab01-3"]``.
    motion : bool, default=False
        Also the acceleration, about 100 MB a night, 28 GB in all; without it there is no
        ``actigraphy``.

    Examples
    --------
    >>> from sleep2vec_sklearn.datasets import fetch_bidsleep
    >>> fetch_bidsleep(data_home=".", download_if_missing=False)
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: bidsleep-dataset/1.0.1: SHA256SUMS.txt missing, and ...
    """
    dataset = _DATASETS["bidsleep-dataset"]
    if motion:
        dataset = replace(dataset, patterns=(*dataset.patterns, "Bidslab*/*/motion.csv"))
    return _fetch(dataset, data_home, records, download_if_missing, mirror, verbose)


def fetch_ucddb(
    *, data_home: StrPath | None = None, records: Sequence[str] | None = None,
    download_if_missing: bool = True, mirror: str = MIRROR, verbose: int = 1,
) -> Cohort:  # fmt: skip
    """Fetch the polysomnograms of the UCD database 1.0.0 and load them; tens of MB a night.

    Parameters and errors are those of :func:`fetch_sleep_edf`, the cohort is that of
    :func:`load_ucddb`.

    Examples
    --------
    >>> from sleep2vec_sklearn.datasets import fetch_ucddb
    >>> fetch_ucddb(data_home=".", download_if_missing=False)
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: ucddb/1.0.0: SHA256SUMS.txt missing, and ...
    """
    return _fetch(_DATASETS["ucddb"], data_home, records, download_if_missing, mirror, verbose)


def fetch_mmash(
    *, data_home: StrPath | None = None, download_if_missing: bool = True, mirror: str = MIRROR,
    verbose: int = 1,
) -> Cohort:  # fmt: skip
    """Fetch MMASH 1.0.0, one archive of 23 MB, and load it.

    Parameters and errors are those of :func:`fetch_sleep_edf`, the cohort is that of
    :func:`load_mmash`.

    Examples
    --------
    >>> from sleep2vec_sklearn.datasets import fetch_mmash
    >>> fetch_mmash(data_home=".", download_if_missing=False)
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: mmash/1.0.0: SHA256SUMS.txt missing, and ...
    """
    return _fetch(_DATASETS["mmash"], data_home, None, download_if_missing, mirror, verbose)


def _load_mmash_archive(folder: Path) -> Cohort:
    unpacked = folder / "MMASH"
    with zipfile.ZipFile(folder / "MMASH.zip") as archive:
        check_archive(folder / "MMASH.zip", archive.infolist())
        for member in archive.infolist():
            path = unpacked / member.filename
            # a file that was being written when a session was killed is shorter
            whole = path.is_file() and path.stat().st_size == member.file_size
            if path.suffix == ".csv" and not whole:
                # extract keeps names inside the folder
                archive.extract(member, unpacked)
    first = next(unpacked.rglob("user_*/RR.csv"), None)
    return load_mmash(unpacked if first is None else first.parent.parent)


@dataclass(frozen=True, slots=True)
class _Dataset:
    """Folder of a data set on PhysioNet, its loader, and the files that the loader reads."""

    slug: str
    load: Callable[[Path], Cohort]
    patterns: tuple[str, ...]
    tables: tuple[str, ...] = ()  # downloaded whichever records are requested
    pinned: Mapping[str, str] = field(default_factory=dict)  # sha256 from another source
    name_letters: int | None = None  # of a file's name that are the record's
    in_folders: bool = False  # the record is named by its folders, Bidslab00/1 as Bidslab00-1
    version: str = "1.0.0"

    def record_of(self, file: str) -> str:
        """Name that selects a file by its beginning."""
        path = PurePosixPath(file)
        return "-".join(path.parts[:-1]) if self.in_folders else path.name


_RECORD = "[abcx][0-9][0-9]"
_DATASETS = {
    "apnea-ecg": _Dataset(
        "apnea-ecg",
        load_apnea_ecg,
        (f"{_RECORD}.hea", f"{_RECORD}.qrs", f"{_RECORD}.apn"),
        tables=("additional-information.txt",),
    ),
    "bidsleep-dataset": _Dataset(
        "bidsleep-dataset",
        load_bidsleep,
        ("Bidslab*/*/hr.csv", "Bidslab*/*/labels.mat"),
        in_folders=True,
        version="1.0.1",
    ),
    "mmash": _Dataset("mmash", _load_mmash_archive, ("MMASH.zip",)),
    "sleep-accel": _Dataset("sleep-accel", load_sleep_accel, ("heart_rate/*.txt", "labels/*.txt")),
    "sleep-edfx": _Dataset(
        "sleep-edfx",
        load_sleep_edf,
        ("sleep-*/*-PSG.edf", "sleep-*/*-Hypnogram.edf"),
        tables=("SC-subjects.xls", "ST-subjects.xls"),
        pinned={
            "sleep-cassette/SC4001E0-PSG.edf": (
                "2b40a18adf76af69a42d6db1f30f31d26b369f6d27ca0050ef30147ef892b131"
            ),
            "sleep-cassette/SC4001EC-Hypnogram.edf": (
                "a4cf67694ade1b52a0ddd06d5817fd45d2d3e8bac5302f640f3e9cfbbf12a996"
            ),
        },
        name_letters=len("SC4001"),
    ),
    "slpdb": _Dataset("slpdb", load_slpdb, ("slp*.hea", "slp*.ecg", "slp*.st")),
    "ucddb": _Dataset(
        "ucddb",
        load_ucddb,
        ("ucddb*.rec", "ucddb*_stage.txt", "ucddb*_respevt.txt"),
        tables=("SubjectDetails.xls",),
    ),
}


def _fetch(
    dataset: _Dataset, data_home: StrPath | None, records: Sequence[str] | None,
    download_if_missing: bool, mirror: str, verbose: int,
) -> Cohort:  # fmt: skip
    prefixes = None
    if records is not None:
        names = (records,) if isinstance(records, str) else records
        prefixes = tuple(str(name)[: dataset.name_letters] for name in names)
    pooch = import_pooch(
        "fetching data sets",
        "download the data set by hand and pass its folder to the load_ function.",
    )
    home = Path(pooch.os_cache("sleep2vec_sklearn") if data_home is None else data_home)
    folder = home.expanduser() / dataset.slug / dataset.version
    address = f"{mirror.rstrip('/')}/{dataset.slug}/{dataset.version}/"
    source = pooch.create(folder, address, registry={_SUMS: None}, retry_if_failed=_RETRIES)
    _fetch_files(source, [_SUMS], download_if_missing, verbose=0)
    source.registry.update(_read_sums(folder / _SUMS, dataset.pinned))
    files = _select_files(source.registry, dataset, prefixes)
    _fetch_files(source, files, download_if_missing, verbose)
    cohort = dataset.load(folder)
    if prefixes is None:
        return cohort
    # the folder may hold records of earlier calls
    selected = [index for index, night in enumerate(cohort) if str(night.id).startswith(prefixes)]
    return cohort[selected]


def _read_sums(path: Path, pinned: Mapping[str, str]) -> dict[str, str]:
    sums = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        match = re.fullmatch(r"([0-9a-fA-F]{64})[ \t]+\*?(?:\./)?(.+)", line.strip())
        if match:
            sums[match[2]] = match[1].lower()
    for name in sums:
        file = PurePosixPath(name)
        if file.is_absolute() or ".." in file.parts or "\\" in name or ":" in name:
            raise ReadError(f"{path} names {name!r}, outside of its folder. Delete it.")
    if not sums:
        raise ReadError(
            f"{path} holds no sha256 sums; accepted is PhysioNet's list. Delete it, and check "
            "that no login page or proxy answered in its place."
        )
    for name, sha256 in pinned.items():
        if sums.get(name, sha256) != sha256:
            raise ReadError(
                f"{path} has sha256 {sums[name]} for {name}, but {sha256} is the published one. "
                "Delete the list and fetch it again from a source you trust."
            )
    return sums


def _select_files(
    sums: Mapping[str, str], dataset: _Dataset, prefixes: tuple[str, ...] | None
) -> list[str]:
    files = [name for name in sums if any(fnmatchcase(name, p) for p in dataset.patterns)]
    tables = [name for name in sums if name in dataset.tables]
    for prefix in prefixes or ():
        if not any(dataset.record_of(name).startswith(prefix) for name in files):
            shown = dict.fromkeys(dataset.record_of(name).partition(".")[0] for name in files)
            raise ReadError(
                f"{dataset.slug} has no record {prefix!r}; it has "
                f"{', '.join(list(shown)[:4])} and others. "
                "Accepted are the beginnings of file names."
            )
    if prefixes is not None:
        files = [name for name in files if dataset.record_of(name).startswith(prefixes)]
    if not files:
        raise ReadError(
            f"the list of {dataset.slug} {dataset.version} holds no {', '.join(dataset.patterns)}. "
            "Check the mirror's address."
        )
    return sorted({*files, *tables})


def _fetch_files(
    source: pooch.Pooch, names: Sequence[str], download_if_missing: bool, verbose: int
) -> None:
    """Make sure that these files are in the folder and match the registry."""
    missing = [name for name in names if not (source.path / name).is_file()]
    if missing and not download_if_missing:
        raise _missing_error(source, missing, "download_if_missing is False")
    fetch = _download_file if download_if_missing else _verify_file
    for name in progress_bar(verbose, names, desc=source.path.parent.name, unit="file"):
        fetch(source, name, verbose)


def _verify_file(source: pooch.Pooch, name: str, verbose: int) -> None:
    import pooch

    sha256 = source.registry[name]
    if sha256 is not None and pooch.file_hash(source.path / name) != sha256:
        raise _mismatch_error(source, name)


def _download_file(source: pooch.Pooch, name: str, verbose: int) -> None:
    """Download a file that is missing or differs from the registry."""
    try:
        download(source, name, verbose)
    except OSError as error:
        # of requests or a full disk; an address without https:// gives one that is a ValueError too
        reason = f"{source.base_url} gave {type(error).__name__}: {error}"
        raise _missing_error(source, [name], reason) from error
    except ValueError as error:
        raise _mismatch_error(source, name) from error


def _missing_error(source: pooch.Pooch, names: Sequence[str], reason: str) -> ReadError:
    listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return ReadError(
        f"{source.path}: {listed} missing, and {reason}. On a computer with a network run "
        f"'wget -r -N -c -np -nH --cut-dirs=1 {source.base_url}' and copy the folder here, or "
        "pass data_home= of an existing download; complete files are not downloaded again."
    )


def _mismatch_error(source: pooch.Pooch, name: str) -> ReadError:
    return ReadError(
        f"{source.path / name}: its sha256 is not the one in {_SUMS}, so it is damaged or of "
        f"another version. Delete it and fetch it again from {source.base_url}."
    )
