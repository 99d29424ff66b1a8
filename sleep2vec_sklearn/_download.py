# SPDX-License-Identifier: BSD-3-Clause
"""Downloads: pooch verifies and retries them, and an interrupted one is continued."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pooch

_CHUNK_BYTES = 1 << 16


def import_pooch(what: str, otherwise: str) -> Any:
    """Import pooch; the error says what needs it, and how to go without."""
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            f"{what} needs pooch. pip install 'sleep2vec-sklearn[fetch]', or {otherwise}"
        ) from error
    return pooch


def download(source: pooch.Pooch, name: str, verbose: int) -> None:
    """Download a file of a registry if it is missing or differs from its sha256.

    Raises an OSError of the network or the disk, or a ValueError where the sha256 is another.
    """
    import pooch

    downloader = pooch.HTTPDownloader()
    if source.registry[name] is not None:
        downloader = _ResumingDownloader(source.path / name, verbose)
    logger = pooch.get_logger()
    level = logger.level
    # the progress bars show what pooch logs
    logger.setLevel("WARNING")
    try:
        source.fetch(name, downloader=downloader)
    finally:
        logger.setLevel(level)


class _ResumingDownloader:
    """pooch's HTTP downloader, which continues ``<name>.part`` of an interrupted download.

    pooch itself deletes an incomplete file. A server that ignores the range sends the whole file
    once more: its hash differs, and pooch starts again.
    """

    def __init__(self, path: Path, verbose: int):
        self._part = path.with_name(f"{path.name}.part")
        # pooch sets the total, but a bar without one has no truth value
        self._bar = {"desc": path.name, "total": 1, "leave": False, "disable": not verbose}

    def __call__(self, url: str, output_file: str, pooch: Any) -> None:
        from pooch import HTTPDownloader
        from requests import HTTPError
        from tqdm.auto import tqdm

        with self._part.open("ab") as file, tqdm(unit="B", unit_scale=True, **self._bar) as bar:
            headers = {"Range": f"bytes={file.tell()}-"} if file.tell() else {}
            try:
                HTTPDownloader(bar, _CHUNK_BYTES, headers=headers)(url, file, pooch)
            except HTTPError as error:
                # 416: nothing is left to download, and the hash decides
                if error.response is None or error.response.status_code != 416:
                    raise
        os.replace(self._part, output_file)
