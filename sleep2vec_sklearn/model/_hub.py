# SPDX-License-Identifier: BSD-3-Clause
"""Files of encoders on this disk or the Hugging Face hub, and folders as the hub keeps them.

huggingface_hub parses addresses, downloads, resumes, caches and shows progress. What is here
chooses the file of a folder, stays with the commit that was resolved, and says what went wrong.
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

from .._version import __version__
from .._warnings import listed, warn
from ..errors import CheckpointError, CheckpointWarning

WEIGHTS, README = "model.safetensors", "README.md"
_SCHEME = "hf://"
_LIGHTNING = ".ckpt"
_SUFFIXES = (".safetensors", _LIGHTNING, ".pt", ".pth")
_LIBRARY = "sleep2vec-sklearn"
# a folder with more is no copy of a repository
_MOST_ENTRIES = 10_000
_NO_LICENCE, _UNKNOWN_LICENCE = "not stated", "not known"
# what the hub knows by an identifier; any other is named
_LICENCES = {
    *("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "isc", "mpl-2.0", "unlicense"),
    *("cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-sa-4.0"),
    *("cc-by-nc-nd-4.0", "gpl-2.0", "gpl-3.0", "lgpl-3.0", "agpl-3.0", "odc-by", "pddl"),
}
_warned: set[str] = set()
# the commit that an address led to, by the address and the sha256 of what was in it
_pinned: dict[tuple[str, str], str] = {}


@dataclass(frozen=True, slots=True)
class CheckpointFile:
    """A file on this disk and, of one from the hub, what is known of it."""

    path: Path
    name: str
    address: str | None = None  # with the commit
    licence: str = _UNKNOWN_LICENCE  # of the repository

    def complete(self, card: Mapping[str, Any]) -> dict[str, Any]:
        """A model card, with where it came from, and the licence where it does not say one."""
        if self.address is None:
            return dict(card)
        return {"licence": self.licence, **card, "address": self.address}


def is_address(source: Any) -> bool:
    """Whether something is an address of the hub, ``"hf://owner/repository@revision/path"``."""
    return isinstance(source, str) and source.startswith(_SCHEME)


def is_lost_address(path: Path) -> bool:
    """Whether a path was made of an address, of which it keeps one slash."""
    return path.parts[:1] == ("hf:",)


def fetch(source: str | os.PathLike) -> CheckpointFile:
    """The file of a path, of a folder with one checkpoint, or of an address, which is downloaded.

    Whether there is a file at a path is left to the caller.
    """
    if isinstance(source, str) and is_address(source):
        return _fetch_from_hub(source)
    path = Path(source)
    if is_lost_address(path):
        raise CheckpointError(
            f"{path}: an address of the hub is text with two slashes, and no path. Pass "
            f"'{_SCHEME}{'/'.join(path.parts[1:])}'."
        )
    # DeepSpeed writes folders that are called like a file
    if path.is_dir() and path.suffix != _LIGHTNING:
        path = path / choose_file(str(path), _files_in(path))
    return CheckpointFile(path, _name_of(path.absolute()))


def _files_in(folder: Path) -> list[str]:
    """Files of a folder, and of those in it where none of its own is a checkpoint."""
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    if any(name.lower().endswith(_SUFFIXES) for name in names):
        return names
    below = list(islice(folder.rglob("*"), _MOST_ENTRIES + 1))
    if len(below) > _MOST_ENTRIES:
        return names
    return [entry.relative_to(folder).as_posix() for entry in below if entry.is_file()]


def choose_file(folder: str, names: Iterable[str]) -> str:
    """The checkpoint among the files of a folder: ``model.safetensors``, or the only one there is.

    Those of the folder itself come before those of the folders in it.
    """
    below = sorted(name for name in names if name.lower().endswith(_SUFFIXES))
    on_top = [name for name in below if "/" not in name]
    if WEIGHTS in on_top:
        return WEIGHTS
    candidates = on_top or below
    if not candidates:
        raise CheckpointError(
            f"{folder} is a folder without a checkpoint, {WEIGHTS} or another file in "
            f"{', '.join(_SUFFIXES)}. Give the path of a file, or another folder."
        )
    if len(candidates) > 1:
        raise CheckpointError(
            f"{folder} is a folder with several checkpoints: {listed(candidates, 8)}. Give the "
            f"path of one, {folder.rstrip('/')}/{candidates[0]}."
        )
    return candidates[0]


def remember(source: Any, sha256: str, file: CheckpointFile) -> None:
    """Note which commit an address of the hub led to; see :func:`pin`."""
    if file.address is not None:
        _pinned[source, sha256] = file.address


def pin(source: Any, sha256: str) -> Any:
    """Where to load again what had this sha256: an address gets the commit that it led to then.

    So an estimator keeps the encoder it was fitted with, here and in its pickles, when the
    repository changes; and no server is asked. Anything else is returned as it is.
    """
    return _pinned.get((source, sha256), source) if is_address(source) else source


def _name_of(path: Path | PurePosixPath) -> str:
    return path.parent.name if path.name == WEIGHTS else path.stem


def _fetch_from_hub(address: str) -> CheckpointFile:
    hub = _import_hub()
    uri = _parse(hub, address)
    api = hub.HfApi(library_name=_LIBRARY, library_version=__version__)
    try:
        commit = _resolve(hub, api, uri)
        names, is_whole = _list_files(hub, api, uri.id, commit)
        name = _choose_in(address, names, uri.path_in_repo)
        folder = _download(hub, api, uri.id, commit, _with_companions(name, names))
    except CheckpointError:
        raise
    except Exception as error:  # of whichever HTTP library this version uses
        raise _explain(hub, address, uri, error) from error
    licence = _licence_of(hub, folder, names, is_whole)
    if licence == _NO_LICENCE and uri.id not in _warned:
        _warned.add(uri.id)
        warn(
            f"{_SCHEME}{uri.id} states no licence, which leaves open what its authors permit: ask "
            "them before you publish or pass on what you make of it. Said once.",
            CheckpointWarning,
        )
    inside = _name_of(PurePosixPath(name))
    title = f"{uri.id}/{inside}" if inside else uri.id
    return CheckpointFile(folder / name, title, f"{_SCHEME}{uri.id}@{commit}/{name}", licence)


def _resolve(hub: Any, api: Any, uri: Any) -> str:
    """The commit; that of the cache where the hub answers, but with no more than a refusal."""
    errors = hub.errors
    try:
        return api.resolve_revision(uri.id, revision=uri.revision).resolved
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        raise
    except errors.HfHubHTTPError as error:
        # too many requests, or of a network that may not ask
        local = {"revision": uri.revision, "local_files_only": True}
        try:
            return api.resolve_revision(uri.id, **local).resolved
        except errors.RevisionResolutionError:
            raise error from None


def _parse(hub: Any, address: str) -> Any:
    try:
        uri = hub.parse_hf_uri(address)
    except ValueError as error:
        raise CheckpointError(
            f"{address!r} is no address of the hub ({error}). Accepted are hf://owner/repository, "
            "also with @revision and the /path of a file or folder."
        ) from error
    if uri.type != "model":
        raise CheckpointError(f"{address!r} is the address of a {uri.type}. Give that of a model.")
    return uri


def _import_hub() -> Any:
    try:
        import huggingface_hub
        from huggingface_hub import get_cached_repo_tree, parse_hf_uri, resolve_revision  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "addresses with hf:// need huggingface_hub, 1.26 or later: pip install "
            "'sleep2vec-sklearn[hub]'. Or download the file by hand and pass its path."
        ) from error
    return huggingface_hub


def _list_files(hub: Any, api: Any, repository: str, commit: str) -> tuple[list[str], bool]:
    """The files of a commit; and whether all, offline it may be those in the cache alone."""
    absent = hub.errors.CachedRepoTreeNotFoundError
    try:
        return [file.path for file in hub.get_cached_repo_tree(repository, revision=commit)], True
    except absent:
        # caches the list; every repository has the second, so that something is found
        options = {"revision": commit, "allow_patterns": [README, ".gitattributes"]}
        # which huggingface_hub below 2.0 does not do by itself
        options["local_files_only"] = hub.is_offline_mode()
        folder = Path(api.snapshot_download(repository, **options))
    try:
        return [file.path for file in hub.get_cached_repo_tree(repository, revision=commit)], True
    except absent:
        # another program has filled the cache
        return [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()], False


def _choose_in(address: str, names: list[str], path: str) -> str:
    path = path.strip("/")
    if path in names:
        return path
    prefix = f"{path}/" if path else ""
    below = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    if below or not path:
        return prefix + choose_file(address, below)
    there = [name for name in names if name.lower().endswith(_SUFFIXES)] or names
    raise CheckpointError(
        f"{address}: there is no file or folder {path!r} in the repository. It has "
        f"{listed(sorted(there), 8) or 'no files'}."
    )


def _with_companions(name: str, names: list[str]) -> list[str]:
    """A file and those that describe it: configurations next to it, and the model card."""
    path = PurePosixPath(name)
    folders = [path.parent]
    if path.parent.name == "checkpoints":
        # Lightning gives them a folder of their own
        folders.append(path.parent.parent)
    near = [other for other in names if PurePosixPath(other).parent in folders]
    described = [other for other in near if other.endswith((".yaml", ".yml", "config.json"))]
    return [name, *described, *(other for other in names if other == README)]


def _download(hub: Any, api: Any, repository: str, commit: str, names: list[str]) -> Path:
    """Download what is not in the cache, and return the folder of the commit."""

    def cached(name: str) -> str | None:
        found = hub.try_to_load_from_cache(repository, name, revision=commit)
        return found if isinstance(found, str) else None

    missing = [name for name in names if cached(name) is None]
    if hub.is_offline_mode() and missing == [README]:
        missing = []
    # a snapshot shows bars even where nothing is missing
    if missing:
        exactly = [glob.escape(name) for name in missing]
        return Path(api.snapshot_download(repository, revision=commit, allow_patterns=exactly))
    return Path(str(cached(names[0]))).parents[names[0].count("/")]


def _licence_of(hub: Any, folder: Path, names: Iterable[str], is_whole: bool) -> str:
    """What a repository states, by its model card or a file of its own."""
    from yaml import YAMLError

    readme = folder / README
    is_known = readme.exists() if README in names else is_whole
    try:
        card = hub.metadata_load(readme) or {}
    except (OSError, ValueError, YAMLError):
        card = {}
    licence = card.get("license")
    if licence in ("other", "unknown"):
        licence = card.get("license_name") or (licence if licence == "other" else None)
    files = [n for n in names if n.upper().startswith(("LICENSE", "LICENCE", "COPYING"))]
    if licence or files:
        return str(licence or f"see its {files[0]}")
    return _NO_LICENCE if is_known else _UNKNOWN_LICENCE


def _explain(hub: Any, address: str, uri: Any, error: Exception) -> CheckpointError:
    errors, cause = hub.errors, error.__cause__ or error
    by_hand = "or pass the path of a file that you have"
    said = " ".join(str(cause).split())[:200]
    if isinstance(error, errors.GatedRepoError):
        text = (
            f"a gated repository, which opens to those whom its authors let in. Ask for access on "
            f"{uri.to_url()}, then log in with: hf auth login"
        )
    elif isinstance(error, errors.RepositoryNotFoundError):
        text = (
            f"there is no repository {uri.id}, or it is private. Correct the name, or log in with: "
            "hf auth login"
        )
    elif isinstance(error, errors.RevisionNotFoundError):
        text = (
            f"the repository has no revision {uri.revision or 'main'!r}, or no more. Give a "
            "branch, a tag or a commit that it has, with %2F for a slash in its name, or none for "
            "the newest."
        )
    elif hub.is_offline_mode():
        text = (
            f"not in the cache {hub.constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE permits no "
            "download. Unset it, or load the address once where there is a network."
        )
    elif isinstance(error, errors.RevisionResolutionError | errors.LocalEntryNotFoundError):
        text = (
            f"the hub cannot be reached ({type(cause).__name__}: {said}), and the cache "
            f"{hub.constants.HF_HUB_CACHE} does not hold it. Try again later, {by_hand}."
        )
    else:
        text = f"the download failed ({type(error).__name__}: {said}). Try again, {by_hand}."
    return CheckpointError(f"{address}: {text}")


def check_readme(folder: Path) -> None:
    """Refuse a folder whose README is of something else: it would be overwritten."""
    path = folder / README
    if path.exists() and f"library_name: {_LIBRARY}" not in path.read_text("utf-8", "replace"):
        raise CheckpointError(
            f"{folder}: not saved, its {README} is not of a checkpoint and would be replaced. "
            "Name another folder, or a file in this one."
        )


def write_readme(name: str, card: Mapping, facts: Mapping[str, Any]) -> str:
    """The README of a folder: what the hub reads, how to load it, ``facts`` and the model card."""
    licence = str(card.get("licence") or card.get("license") or _NO_LICENCE)
    head = [f"library_name: {_LIBRARY}"]
    if licence.lower() in _LICENCES:
        head.append(f"license: {licence.lower()}")
    elif licence != _NO_LICENCE:
        # JSON is YAML
        head += ["license: other", f"license_name: {json.dumps(_one_line(licence))}"]
    head += ["tags:", "- sleep", "- polysomnography"]
    lines = ["---", *head, "---", f"# {_one_line(name)}", "", "An encoder of nights of sleep.", ""]
    lines += ["```python", "from sleep2vec_sklearn import Sleep2VecTransformer, load_checkpoint"]
    lines += ["", 'encoder = load_checkpoint("path/to/this/folder")  # or "hf://owner/repository"']
    lines += ["Sleep2VecTransformer(encoder)", "```", "", *_bullets(facts), ""]
    return "\n".join([*lines, "## Model card", "", *_bullets({"licence": licence, **card}), ""])


def _bullets(values: Mapping, indent: str = "") -> list[str]:
    lines = []
    for key, value in values.items():
        label = f"{indent}- **{_one_line(str(key).replace('_', ' '))}**:"
        if isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value):
            value = dict(enumerate(value, 1))
        if isinstance(value, Mapping):
            lines += [label, *_bullets(value, f"{indent}  ")]
        else:
            several = isinstance(value, list | tuple)
            text = ", ".join(map(str, value)) if several else str(value)
            lines.append(f"{label} {_one_line(text)}")
    return lines


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
