# SPDX-License-Identifier: BSD-3-Clause
"""Public data sets from PhysioNet, fetched where they are missing and loaded."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ...signals import Cohort
from .apnea_ecg import load_apnea_ecg
from .downloading import MIRROR, PublicSet, fetch_files
from .mmash import load_mmash
from .sleep_accel import load_sleep_accel
from .sleep_edf import load_sleep_edf
from .slpdb import load_slpdb
from .ucddb import load_ucddb

__all__ = [
    "fetch_apnea_ecg",
    "fetch_mmash",
    "fetch_sleep_accel",
    "fetch_sleep_edf",
    "fetch_slpdb",
    "fetch_ucddb",
]

SLEEP_EDF = PublicSet(
    "sleep-edfx",
    "1.0.0",
    ("sleep-*/*-PSG.edf", "sleep-*/*-Hypnogram.edf"),
    ("SC-subjects.xls", "ST-subjects.xls"),
    {
        "sleep-cassette/SC4001E0-PSG.edf": (
            "2b40a18adf76af69a42d6db1f30f31d26b369f6d27ca0050ef30147ef892b131"
        ),
        "sleep-cassette/SC4001EC-Hypnogram.edf": (
            "a4cf67694ade1b52a0ddd06d5817fd45d2d3e8bac5302f640f3e9cfbbf12a996"
        ),
    },
)
_NIGHT_LETTERS = len("SC4001")
SLPDB = PublicSet("slpdb", "1.0.0", ("slp*.hea", "slp*.ecg", "slp*.st"))
APNEA_ECG = PublicSet(
    "apnea-ecg",
    "1.0.0",
    tuple(f"[abcx][0-9][0-9].{suffix}" for suffix in ("hea", "qrs", "apn")),
    ("additional-information.txt",),
)
SLEEP_ACCEL = PublicSet("sleep-accel", "1.0.0", ("heart_rate/*.txt", "labels/*.txt"))
MOTION = "motion/*_acceleration.txt"
UCDDB = PublicSet(
    "ucddb",
    "1.0.0",
    ("ucddb*.rec", "ucddb*_stage.txt", "ucddb*_respevt.txt"),
    ("SubjectDetails.xls",),
)
MMASH = PublicSet("mmash", "1.0.0", ("MMASH.zip",))


def fetch_sleep_edf(
    *,
    data_home=None,
    records: Sequence[str] | None = None,
    download_if_missing: bool = True,
    mirror: str = MIRROR,
    verbose: int = 1,
) -> Cohort:
    """Fetch Sleep-EDF Expanded 1.0.0 and load it; 8 GB in whole, about 50 MB a night.

    Files that are here already are not fetched again, but checked by their sha256. A download that
    was cut off goes on where it ended. Needs ``pip install sleep2vec-sklearn[fetch]``.

    Parameters
    ----------
    data_home : path-like, optional
        Folder for all data sets; the user's cache folder by default.
    records : sequence of str, optional
        Only nights whose names start with one of these, e.g. ``["SC4001", "SC401"]``. More than
        six letters are not looked at: what follows differs between a night and its hypnogram.
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
        If a file cannot be had, or is not what its hash says.

    Examples
    --------
    >>> from sleep2vec_sklearn.datasets import fetch_sleep_edf
    >>> cohort = fetch_sleep_edf()  # doctest: +SKIP
    >>> fetch_sleep_edf(data_home=".", download_if_missing=False)
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: sleep-edfx/1.0.0: SHA256SUMS.txt missing, and ...
    """
    if records is not None:
        nights = (records,) if isinstance(records, str) else records
        records = [str(night)[:_NIGHT_LETTERS] for night in nights]
    options = (data_home, records, download_if_missing, mirror, verbose)
    return _fetch(SLEEP_EDF, load_sleep_edf, *options)


def fetch_slpdb(
    *,
    data_home=None,
    records: Sequence[str] | None = None,
    download_if_missing: bool = True,
    mirror: str = MIRROR,
    verbose: int = 1,
) -> Cohort:
    """Fetch beats and stages of the MIT-BIH Polysomnographic Database 1.0.0 and load them; 1 MB.

    Parameters, errors and the rest as in :func:`fetch_sleep_edf`.

    Returns
    -------
    Cohort
        As :func:`load_slpdb`.

    Examples
    --------
    >>> from sleep2vec_sklearn.datasets import fetch_slpdb
    >>> cohort = fetch_slpdb()  # doctest: +SKIP
    >>> fetch_slpdb(data_home=".", download_if_missing=False)
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: slpdb/1.0.0: SHA256SUMS.txt missing, and ...
    """
    options = (data_home, records, download_if_missing, mirror, verbose)
    return _fetch(SLPDB, load_slpdb, *options)


def fetch_apnea_ecg(
    *,
    data_home=None,
    records: Sequence[str] | None = None,
    download_if_missing: bool = True,
    mirror: str = MIRROR,
    verbose: int = 1,
) -> Cohort:
    """Fetch beats and minutes with apnea of the Apnea-ECG Database 1.0.0 and load them; 5 MB.

    Parameters, errors and the rest as in :func:`fetch_sleep_edf`.

    Returns
    -------
    Cohort
        As :func:`load_apnea_ecg`.

    Examples
    --------
    >>> from sleep2vec_sklearn.datasets import fetch_apnea_ecg
    >>> cohort = fetch_apnea_ecg()  # doctest: +SKIP
    >>> fetch_apnea_ecg(data_home=".", download_if_missing=False)
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: apnea-ecg/1.0.0: SHA256SUMS.txt missing, and ...
    """
    options = (data_home, records, download_if_missing, mirror, verbose)
    return _fetch(APNEA_ECG, load_apnea_ecg, *options)


def fetch_sleep_accel(
    *,
    data_home=None,
    records: Sequence[str] | None = None,
    motion: bool = False,
    download_if_missing: bool = True,
    mirror: str = MIRROR,
    verbose: int = 1,
) -> Cohort:
    """Fetch heart rate and stages of sleep-accel 1.0.0 and load them.

    Parameters, errors and the rest as in :func:`fetch_sleep_edf`.

    Parameters
    ----------
    motion : bool, default=False
        Also the acceleration, by far the largest part of the set; without it there is no
        ``actigraphy``.

    Returns
    -------
    Cohort
        As :func:`load_sleep_accel`.

    Examples
    --------
    >>> from sleep2vec_sklearn.datasets import fetch_sleep_accel
    >>> cohort = fetch_sleep_accel()  # doctest: +SKIP
    >>> fetch_sleep_accel(data_home=".", download_if_missing=False)
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: sleep-accel/1.0.0: SHA256SUMS.txt missing, and ...
    """
    wanted = SLEEP_ACCEL
    if motion:
        wanted = replace(wanted, patterns=(*wanted.patterns, MOTION))
    options = (data_home, records, download_if_missing, mirror, verbose)
    return _fetch(wanted, load_sleep_accel, *options)


def fetch_ucddb(
    *,
    data_home=None,
    records: Sequence[str] | None = None,
    download_if_missing: bool = True,
    mirror: str = MIRROR,
    verbose: int = 1,
) -> Cohort:
    """Fetch the polysomnograms of the UCD database 1.0.0 and load them; tens of MB a night.

    Parameters, errors and the rest as in :func:`fetch_sleep_edf`.

    Returns
    -------
    Cohort
        As :func:`load_ucddb`.

    Examples
    --------
    >>> from sleep2vec_sklearn.datasets import fetch_ucddb
    >>> cohort = fetch_ucddb()  # doctest: +SKIP
    >>> fetch_ucddb(data_home=".", download_if_missing=False)
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: ucddb/1.0.0: SHA256SUMS.txt missing, and ...
    """
    options = (data_home, records, download_if_missing, mirror, verbose)
    return _fetch(UCDDB, load_ucddb, *options)


def fetch_mmash(
    *, data_home=None, download_if_missing: bool = True, mirror: str = MIRROR, verbose: int = 1
) -> Cohort:
    """Fetch MMASH 1.0.0, one archive of 23 MB, and load it.

    Parameters, errors and the rest as in :func:`fetch_sleep_edf`.

    Returns
    -------
    Cohort
        As :func:`load_mmash`.

    Examples
    --------
    >>> from sleep2vec_sklearn.datasets import fetch_mmash
    >>> cohort = fetch_mmash()  # doctest: +SKIP
    >>> fetch_mmash(data_home=".", download_if_missing=False)
    Traceback (most recent call last):
        ...
    sleep2vec_sklearn.errors.ReadError: mmash/1.0.0: SHA256SUMS.txt missing, and ...
    """
    return _fetch(MMASH, _load_archive, data_home, None, download_if_missing, mirror, verbose)


def _fetch(
    dataset: PublicSet,
    load: Callable[[Path], Cohort],
    data_home,
    records,
    download_if_missing: bool,
    mirror: str,
    verbose: int,
) -> Cohort:
    folder = fetch_files(
        dataset,
        data_home=data_home,
        records=records,
        download_if_missing=download_if_missing,
        mirror=mirror,
        verbose=verbose,
    )
    cohort = load(folder)
    if records is None:
        return cohort
    # others may lie in the folder from before
    prefixes = (records,) if isinstance(records, str) else tuple(map(str, records))
    kept = [place for place, night in enumerate(cohort) if night.id.startswith(prefixes)]
    failures = cohort.failures.to_numpy().tolist()
    return Cohort([cohort[place] for place in kept], cohort.metadata.iloc[kept], failures)


def _load_archive(folder: Path) -> Cohort:
    unpacked = folder / "MMASH"
    with zipfile.ZipFile(folder / "MMASH.zip") as archive:
        wanted = [file for file in archive.infolist() if file.filename.endswith(".csv")]
        # what an interrupted session was writing is there, but shorter
        absent = [file for file in wanted if not _is_unpacked(file, unpacked)]
        # extractall keeps names inside the folder
        archive.extractall(unpacked, absent)
    first = next(unpacked.rglob("user_*/RR.csv"), None)
    return load_mmash(unpacked if first is None else first.parent.parent)


def _is_unpacked(file: zipfile.ZipInfo, folder: Path) -> bool:
    path = folder / file.filename
    return path.is_file() and path.stat().st_size == file.file_size
