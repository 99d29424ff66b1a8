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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from ...errors import ReadError

__all__ = ["MIRROR", "PublicSet", "fetch_files"]

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
