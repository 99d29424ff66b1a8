# SPDX-License-Identifier: BSD-3-Clause
"""Files of PhysioNet's data sets: fetched once, resumed where cut off, checked by their hashes.

PhysioNet publishes the sha256 of every file of a data set as ``SHA256SUMS.txt`` beside the files.
That list is fetched over https first and kept, and every file is checked against it. The list
itself is trusted as far as https is; where this library knows the hash of a file from elsewhere
(``known``), a list that says otherwise is refused.
"""

from __future__ import annotations

import fnmatch
import os
import re
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from ..errors import ReadError
from ..recordings import Cohort
from .apnea_ecg import load_apnea_ecg
from .mmash import load_mmash
from .sleep_accel import load_sleep_accel
from .sleep_edf import load_sleep_edf
from .slpdb import load_slpdb
from .ucddb import load_ucddb

__all__ = [
    "MIRROR",
    "PublicSet",
    "fetch_apnea_ecg",
    "fetch_files",
    "fetch_mmash",
    "fetch_sleep_accel",
    "fetch_sleep_edf",
    "fetch_slpdb",
    "fetch_ucddb",
]

MIRROR = "https://physionet.org/files"
_SUMS = "SHA256SUMS.txt"
_RETRIES = 3
_TIMEOUT_SECONDS = 30
_CHUNK_BYTES = 1 << 16
_LINE = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(.+)")


@dataclass(frozen=True, slots=True)
class PublicSet:
    """Where a data set lies and which of its files the loader reads.

    Attributes
    ----------
    slug, version : str
        Its folder on PhysioNet.
    patterns : tuple of str
        Files to fetch, e.g. ``"*.hea"``.
    tables : tuple of str
        Files fetched whichever records are asked for.
    known : mapping of str to str
        sha256 of files, from another source than the list beside them.
    """

    slug: str
    version: str
    patterns: tuple[str, ...]
    tables: tuple[str, ...] = ()
    known: Mapping[str, str] = field(default_factory=dict)


def fetch_files(
    dataset: PublicSet,
    *,
    data_home=None,
    records: Sequence[str] | None = None,
    download_if_missing: bool = True,
    mirror: str = MIRROR,
    verbose: int = 1,
) -> Path:
    """Bring the files of a data set to this computer and check them.

    Parameters
    ----------
    dataset : PublicSet
        What to fetch.
    data_home : path-like, optional
        Folder for all data sets; the user's cache folder by default.
    records : sequence of str, optional
        Only files whose names start with one of these.
    download_if_missing : bool, default=True
        False never uses the network: a file that is missing is an error.
    mirror : str
        Address that holds ``<slug>/<version>/``.
    verbose : int, default=1
        0 hides the progress bars.

    Returns
    -------
    Path
        The data set's folder.

    Raises
    ------
    ImportError
        If pooch is not installed.
    ReadError
        If a file cannot be had, or is not what its hash says.
    """
    pooch = _import_pooch()
    home = Path(pooch.os_cache("sleep2vec_sklearn") if data_home is None else data_home)
    folder = home.expanduser() / dataset.slug / dataset.version
    address = f"{mirror.rstrip('/')}/{dataset.slug}/{dataset.version}/"
    request = _Request(dataset, folder, address, verbose)
    if not (folder / _SUMS).is_file():
        if not download_if_missing:
            raise request.missing([_SUMS])
        request.download(pooch, _SUMS, None)
    sums = _read_sums(folder / _SUMS, dataset)
    names = _choose(sums, dataset, records)
    absent = [name for name in names if not (folder / name).is_file()]
    if absent and not download_if_missing:
        raise request.missing(absent)
    for name in request.progress(names):
        request.download(pooch, name, sums[name], download_if_missing)
    return folder


@dataclass(frozen=True, slots=True)
class _Request:
    """One data set on its way from an address to a folder."""

    dataset: PublicSet
    folder: Path
    address: str
    verbose: int

    def progress(self, names: Sequence[str]):
        from tqdm.auto import tqdm

        return tqdm(names, desc=self.dataset.slug, unit="file", disable=not self.verbose)

    def download(self, pooch, name: str, sha256: str | None, allowed: bool = True) -> None:
        """Fetch a file, unless it is there and whole."""
        path = self.folder / name
        if sha256 is not None and path.is_file() and not allowed:
            if pooch.file_hash(path) != sha256:
                raise self._changed(name)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        keeper = pooch.create(
            path=self.folder,
            base_url=self.address,
            registry={name: sha256},
            retry_if_failed=_RETRIES,
        )
        logger = pooch.get_logger()
        level = logger.level
        logger.setLevel("WARNING")
        try:
            keeper.fetch(name, downloader=_Resumed(path, self.verbose))
        except OSError as error:
            # requests' errors are of this kind, as are those of a full disk; that of an address
            # without https:// is a ValueError too
            raise self.missing([name], error) from error
        except ValueError as error:
            raise self._changed(name) from error
        finally:
            logger.setLevel(level)

    def missing(self, names: Sequence[str], error: Exception | None = None) -> ReadError:
        listed = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        why = (
            "download_if_missing is False"
            if error is None
            else f"{self.address} gave {type(error).__name__}: {error}"
        )
        return ReadError(
            f"{self.folder}: {listed} missing, and {why}. On a computer with a network run "
            f"'wget -r -N -c -np -nH --cut-dirs=1 {self.address}' and copy the folder here, or "
            "pass data_home= where you have it; files already here are kept and checked."
        )

    def _changed(self, name: str) -> ReadError:
        return ReadError(
            f"{self.folder / name}: its sha256 is not the one in {_SUMS}, so it is damaged or of "
            f"another version. Delete it and fetch it again from {self.address}."
        )


class _Resumed:
    """A downloader for pooch that goes on where the last attempt was cut off."""

    def __init__(self, path: Path, verbose: int):
        self._part = path.with_name(path.name + ".part")
        self._verbose = verbose

    def __call__(self, url: str, output_file, pooch) -> None:
        import requests
        from tqdm.auto import tqdm

        have = self._part.stat().st_size if self._part.is_file() else 0
        headers = {"Range": f"bytes={have}-"} if have else {}
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_SECONDS) as answer:
            # 416: all of it is here, which its hash will tell
            if answer.status_code != 416:
                answer.raise_for_status()
                have = have if answer.status_code == 206 else 0
                size = have + int(answer.headers.get("Content-Length", 0)) or None
                bar = {"desc": self._part.stem, "unit": "B", "unit_scale": True, "leave": False}
                with (
                    self._part.open("ab" if have else "wb") as file,
                    tqdm(total=size, initial=have, disable=not self._verbose, **bar) as progress,
                ):
                    for chunk in answer.iter_content(_CHUNK_BYTES):
                        file.write(chunk)
                        progress.update(len(chunk))
        os.replace(self._part, output_file)


def _import_pooch():
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            "fetching data sets needs pooch. pip install 'sleep2vec-sklearn[fetch]', or download "
            "the data set by hand and pass its folder to the load_ function."
        ) from error
    return pooch


def _read_sums(path: Path, dataset: PublicSet) -> dict[str, str]:
    sums = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        found = _LINE.fullmatch(line.strip())
        if found:
            name = found[2].removeprefix("./")
            if not _stays_inside(name):
                raise ReadError(f"{path} names {name!r}, outside of its folder. Delete it.")
            sums[name] = found[1].lower()
    if not sums:
        raise ReadError(
            f"{path} holds no sha256 sums; accepted is PhysioNet's list. Delete it, and check "
            "that no login page or proxy answered in its place."
        )
    for name, sha256 in dataset.known.items():
        if sums.get(name, sha256) != sha256:
            raise ReadError(
                f"{path} says that {name} has sha256 {sums[name]}, but {sha256} is the published "
                "one. Delete the list and fetch it again from a source you trust."
            )
    return sums


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    plain = "\\" not in name and ":" not in name
    return plain and not path.is_absolute() and ".." not in path.parts


def _choose(sums: Mapping[str, str], dataset: PublicSet, records) -> list[str]:
    wanted = [name for name in sums if _matches(name, dataset.patterns)]
    tables = [name for name in sums if _matches(name, dataset.tables)]
    if records is not None:
        prefixes = (records,) if isinstance(records, str) else tuple(map(str, records))
        for prefix in prefixes:
            if not any(PurePosixPath(name).name.startswith(prefix) for name in wanted):
                raise ReadError(
                    f"{dataset.slug} has no record {prefix!r}; it has "
                    f"{', '.join(PurePosixPath(name).stem for name in wanted[:4])} and others. "
                    "Accepted are the beginnings of file names."
                )
        wanted = [name for name in wanted if PurePosixPath(name).name.startswith(prefixes)]
    if not wanted:
        raise ReadError(
            f"the list of {dataset.slug} {dataset.version} holds no {', '.join(dataset.patterns)}. "
            "Check the mirror's address."
        )
    return sorted({*wanted, *tables})


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


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
