# SPDX-License-Identifier: BSD-3-Clause
"""Checkpoints: one safetensors file whose metadata holds the configuration and a model card.

A folder holds such a file and the model card as a page, as the Hugging Face hub shows it. No code
is ever unpickled. The sha256 covers the tensors and the configuration, so a changed weight or rate
is noticed; a file cannot hold a hash of itself.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, overload

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from .._files import canonical_json, check_format_version, sha256, tensor_parts, write_atomic
from .._torch import own_modes
from .._untrusted import check_finite, only_errors, parse_json, read_safetensors
from ..errors import CheckpointError
from ..recordings.modality import Conditioning
from . import _hub
from ._hub import CheckpointFile
from .config import EncoderConfig
from .encoder import Encoder, check_encoder
from .external import seqsleepnet, sleepfm
from .external.seqsleepnet import SeqSleepNet
from .external.sleepfm import SleepFM
from .network import Sleep2Vec
from .upstream._files import configuration_files, is_torch_file, load_torch_file, state_in
from .upstream.checkpoint import read_upstream_checkpoint, upstream_from_document

FORMAT_VERSION = 1
BUNDLED: dict[str, str] = {
    "sleep2vec-mini": "f2e9d954b143c97afbec96c13eb731679b300ec319f59228a3db19ea94252330"
}
_WEIGHTS = Path(__file__).parent / "weights"
_METADATA_KEY = "sleep2vec_sklearn"
_FILES_KEPT = 4
_DTYPES = {"float32": torch.float32, "float16": torch.float16}
_LIGHTNING = ".ckpt"
_NO_OTHER_FORMAT = (
    "Checkpoints are files of save_checkpoint(), the authors' .ckpt files, SeqSleepNet's or "
    "SleepFM's."
)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """An encoder as stored; shared by all who load it, so not to be changed.

    Attributes
    ----------
    config : EncoderConfig
    state : dict of str to Tensor
        Parameters and buffers, floating ones as float32. :meth:`build` copies them.
    card : dict
        What is known of the encoder: provenance, licence, training data, ... Of one from the hub,
        ``"address"`` is where it is, with the commit.
    sha256 : str
        Over the stored tensors and the configuration.
    name : str
        Bundled name, or the file's stem, but the folder's name for ``model.safetensors``; from the
        hub it begins with the repository's name.

    Examples
    --------
    >>> from sleep2vec_sklearn import load_checkpoint
    >>> encoder = load_checkpoint("sleep2vec-mini")
    >>> encoder.name, encoder.config.hidden_size, len(encoder.config.names)
    ('sleep2vec-mini', 128, 11)
    >>> network = encoder.build()
    """

    config: EncoderConfig = field(repr=False)
    state: dict[str, Tensor] = field(repr=False)
    card: dict = field(repr=False)
    sha256: str
    name: str

    def __deepcopy__(self, memo: dict) -> Checkpoint:
        # scikit-learn clones a parameter by a deep copy, in every fold
        return self

    def build(self) -> Sleep2Vec:
        """A new network with these parameters, in eval mode."""
        return Sleep2Vec.from_state(self.config, self.state)


@own_modes()
def save_checkpoint(
    path: str | os.PathLike, model: nn.Module | Mapping[str, Tensor], config: EncoderConfig, *,
    card: Mapping | None = None, dtype: str = "float32",
) -> str:  # fmt: skip
    """Write an encoder to a file, all of it or nothing, or to a folder with its model card.

    Parameters
    ----------
    path : path-like
        A file such as ``"mine.safetensors"``; or a folder, where it has no suffix or is one: of
        ``model.safetensors`` and ``README.md``, which ``huggingface_hub.upload_folder`` publishes.
    model : Sleep2Vec or mapping of str to Tensor
        The network, or its ``state_dict()``.
    config : EncoderConfig
    card : mapping, optional
        JSON values that describe the encoder. The hub shows ``"name"`` and ``"licence"``, an
        identifier such as ``"cc-by-4.0"``, apart.
    dtype : {"float32", "float16"}
        float16 halves the file; it applies to matrices, the small rest stays float32.

    Returns
    -------
    str
        The checkpoint's sha256.

    Raises
    ------
    CheckpointError
        If the tensors do not fit, the card is not JSON, or the path cannot be written or read; or
        a folder has a ``README.md`` of something else.

    Examples
    --------
    >>> from sleep2vec_sklearn import load_checkpoint, save_checkpoint
    >>> encoder = load_checkpoint("sleep2vec-mini")
    >>> sha256 = save_checkpoint("copy.safetensors", encoder.state, encoder.config, dtype="float16")
    >>> load_checkpoint("copy.safetensors").sha256 == sha256
    True
    >>> sha256 = save_checkpoint("my-encoder", encoder.state, encoder.config, card=encoder.card)
    >>> load_checkpoint("my-encoder").name
    'my-encoder'
    """
    check_target(path)
    if dtype not in _DTYPES:
        raise CheckpointError(f"dtype must be 'float32' or 'float16', got {dtype!r}.")
    state = model.state_dict() if isinstance(model, nn.Module) else model
    _check_fit(f"{path}: not saved", config, state)
    tensors = {name: _stored(name, tensor, _DTYPES[dtype]) for name, tensor in state.items()}
    values = config.to_dict()
    digest = _hash_of(tensors, values)
    card = dict(card or {})
    document = {"format_version": FORMAT_VERSION, "config": values, "sha256": digest, "card": card}
    try:
        description = canonical_json(document)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not saved, the card must hold finite numbers, text, lists and dicts: {error}"
        ) from error
    data, path = save(tensors, metadata={_METADATA_KEY: description}), Path(path)
    if not _is_folder(path):
        write_atomic(path, data)
        return digest
    path.mkdir(exist_ok=True)
    write_atomic(path / _hub.WEIGHTS, data)
    facts = {**_facts_of(config, tensors), "sha256": digest}
    page = _hub.write_readme(str(card.get("name") or path.absolute().name), card, facts)
    write_atomic(path / _hub.README, page.encode())
    return digest


def _is_folder(path: Path) -> bool:
    # an older version wrote a file whatever its name
    return path.is_dir() or not (path.suffix or path.exists())


def _facts_of(config: EncoderConfig, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        "modalities": [f"{m.name} ({m.conditioning.rate:.3g} Hz)" for m in config.modalities],
        "token": f"{config.hidden_size} numbers for each modality and 30 s",
        "context": f"{config.context_epochs} epochs of 30 s",
        "parameters and buffers": f"{sum(tensor.numel() for tensor in tensors.values()):,}",
    }


def check_target(path: str | os.PathLike) -> None:
    """Refuse a path that :func:`save_checkpoint` cannot write, or nobody could read afterwards."""
    path = Path(path)
    if _hub.is_lost_address(path):
        raise CheckpointError(
            f"{path}: not saved, this library does not upload. Save to a folder, then use "
            "huggingface_hub.upload_folder(folder_path=..., repo_id=...)."
        )
    if path.suffix == _LIGHTNING:
        raise CheckpointError(
            f"{path}: not saved, a name in .ckpt is read as a Lightning checkpoint; call it "
            f"{path.stem}.safetensors."
        )
    if path.is_dir():
        _hub.check_readme(path)
    if not path.parent.is_dir():
        raise CheckpointError(f"{path}: not saved, there is no folder {path.parent}; create it.")


# a path is typed as that of a sleep2vec encoder, the usual case: it may be one of another network
@overload
def load_checkpoint(  # type: ignore[overload-overlap]
    name_or_path: Literal["seqsleepnet"],
) -> SeqSleepNet: ...
@overload
def load_checkpoint(name_or_path: str | os.PathLike) -> Checkpoint: ...
def load_checkpoint(name_or_path: str | os.PathLike) -> Checkpoint | SeqSleepNet | SleepFM:
    """Read a bundled encoder by name, or one from a file, a folder or the Hugging Face hub.

    The last few files are remembered: one is read again only after it has changed.

    Parameters
    ----------
    name_or_path : str or path-like
        A bundled encoder, a file of :func:`save_checkpoint`, or a Lightning ``.ckpt`` of the
        paper's authors (:func:`~sleep2vec_sklearn.model.convert_checkpoint` has more choices).
        ``"seqsleepnet"`` is downloaded once; its file, ``model_base/best.pt`` of SleepFM, and
        safetensors files of their tensors, are known by the names of these.

        Of a folder, ``model.safetensors`` or the only checkpoint in it, or else below it.

        An address ``"hf://owner/repository@revision/path"`` is downloaded from the hub and cached
        there (extra ``hub``); revision and path may be left out. ``card["address"]`` says the
        commit, which fitted estimators and their pickles stay with. With the commit as revision,
        or ``HF_HUB_OFFLINE=1``, a cached file is read without a network.

    Returns
    -------
    Checkpoint, SeqSleepNet or SleepFM

    Warns
    -----
    CheckpointWarning
        Once, if a repository of the hub states no licence, or no ``config.json`` beside SleepFM's
        file says its heads.

    Raises
    ------
    CheckpointError
        If there is no such encoder, the file is damaged, foreign or of a newer version, or a
        download fails: no network, a gated repository, no such revision or file.
    ImportError
        If a ``.ckpt`` needs the YAML file next to it and pyyaml is not installed, or a download
        needs pooch or huggingface_hub.

    Examples
    --------
    >>> from sleep2vec_sklearn import load_checkpoint
    >>> load_checkpoint("sleep2vec-mini").config.context_epochs
    240
    >>> load_checkpoint("hf://zrjin/s2v_stage5")  # doctest: +SKIP
    """
    file, pinned = _locate(name_or_path)
    path = file.path
    try:
        # tensors made in inference mode could not be trained later
        with only_errors(CheckpointError, path, _NO_OTHER_FORMAT), own_modes():
            resolved = path.resolve()
            # the hub's cache has links to files without a suffix
            path = resolved if resolved.suffix == path.suffix else path.absolute()
            file = replace(file, path=path)
            sizes = sleepfm.configuration_files(path)
            if path.suffix.lower() == _LIGHTNING or is_torch_file(path):
                stamps = map(_stamp, [path, *configuration_files(path), *sizes])
                loaded = _load_torch(file, tuple(stamps))
            else:
                loaded = _load(file, pinned, tuple(map(_stamp, [path, *sizes])))
    except CheckpointError as error:
        if file.address is None:
            raise
        raise CheckpointError(f"{file.address}: {error}") from error
    _hub.remember(name_or_path, loaded.sha256, file)
    return loaded


def convert_checkpoint(
    source: str | os.PathLike, target: str | os.PathLike, *,
    config: Mapping | str | os.PathLike | None = None, weights: str = "auto",
    adapter: str | None = None, alpha: float | None = None,
    conditioning: str | Mapping[str, Conditioning] = "as given", context_epochs: int | None = None,
    card: Mapping | None = None, dtype: str = "float32",
) -> str:  # fmt: skip
    """Write the encoder of a Lightning checkpoint of the authors as a safetensors file.

    Parameters
    ----------
    source : path-like
        A ``.ckpt`` file of pretraining or fine-tuning; of the latter the backbone is taken.
    target : path-like
        File to write, such as ``"mine.safetensors"``.
    config, weights, adapter, alpha, conditioning, context_epochs
        See :func:`read_upstream_checkpoint`.
    card, dtype
        See :func:`save_checkpoint`; the card is added to what the file says.

    Returns
    -------
    str
        The new checkpoint's sha256.

    Raises
    ------
    CheckpointError, ImportError
        As of both functions.

    Examples
    --------
    >>> from sleep2vec_sklearn.model import convert_checkpoint
    >>> convert_checkpoint("last.ckpt", "mine.safetensors")  # doctest: +SKIP
    """
    # before the work, which may be long
    check_target(target)
    upstream = read_upstream_checkpoint(
        source, config=config, weights=weights, adapter=adapter, alpha=alpha,
        conditioning=conditioning, context_epochs=context_epochs,
    )  # fmt: skip
    if upstream.adapted:
        raise CheckpointError(
            f"{source}: adapter='each' keeps an adapter for every channel, and a converted encoder "
            f"has one; accepted: {', '.join(map(repr, upstream.adapted))}."
        )
    card = {**upstream.card, **(card or {})}
    return save_checkpoint(target, upstream.state, upstream.config, card=card, dtype=dtype)


def as_checkpoint(checkpoint: Any) -> Checkpoint | Encoder:
    """A checkpoint or encoder itself, or what a name or path is of; see :func:`load_checkpoint`."""
    if isinstance(checkpoint, str | os.PathLike):
        return load_checkpoint(checkpoint)
    if not isinstance(checkpoint, Checkpoint | Encoder):
        # an estimator that has one
        checkpoint = getattr(checkpoint, "encoder", checkpoint)
    if not isinstance(checkpoint, Checkpoint):
        check_encoder(checkpoint)
    return checkpoint


def require_sleep2vec(
    checkpoint: Checkpoint | Encoder, what: str, fix: str = "Pass the checkpoint of one."
) -> Checkpoint:
    """The checkpoint, or a CheckpointError that says what it is needed for."""
    if not isinstance(checkpoint, Checkpoint):
        raise CheckpointError(
            f"{what} needs a sleep2vec encoder, whose network is known; {checkpoint.name} is a "
            f"{type(checkpoint).__name__}. {fix}"
        )
    return checkpoint


def _stamp(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size


@lru_cache(maxsize=_FILES_KEPT)
def _load_torch(file: CheckpointFile, stamps: tuple) -> Checkpoint | SeqSleepNet | SleepFM:
    path = file.path
    document = load_torch_file(path)
    state = state_in(path, document)
    if other := _read_other(file, state):
        return other
    upstream = upstream_from_document(path, document)
    digest = _hash_of(upstream.state, upstream.config.to_dict())
    card = file.complete({**upstream.card, "name": file.name})
    return Checkpoint(upstream.config, upstream.state, card, digest, file.name)


@lru_cache(maxsize=_FILES_KEPT)
def _load(
    file: CheckpointFile, pinned: str | None, stamps: tuple
) -> Checkpoint | SeqSleepNet | SleepFM:
    """Read and check a file; ``stamps`` only tell its versions apart."""
    path = file.path
    state, metadata = _read(path)
    if _METADATA_KEY not in metadata and (other := _read_other(file, state)):
        return other
    document = _document_of(path, metadata)
    try:
        config = EncoderConfig.from_dict(document["config"])
        card, expected = file.complete(document["card"]), pinned or document["sha256"]
        # as stored: settings that a later version knows must not change an old file's hash
        digest = _hash_of(state, document["config"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: its configuration cannot be used: {error}") from error
    _check_fit(f"{path}: damaged", config, state)
    if digest != document["sha256"] or digest != expected:
        raise CheckpointError(
            f"{path}: changed or damaged: its content has sha256 {digest[:12]}..., expected "
            f"{str(expected)[:12]}... Get the file again, or reinstall if it was bundled."
        )
    check_finite(state)
    # copies, because the tensors read are a map of the file: it could not be replaced on Windows
    state = {
        key: t.to(torch.float32 if t.is_floating_point() else t.dtype, copy=True)
        for key, t in state.items()
    }
    return Checkpoint(config, state, card, digest, file.name)


def _read_other(file: CheckpointFile, state: Mapping[str, Tensor]) -> SeqSleepNet | SleepFM | None:
    """The encoder of others that a file's tensors are of, by their names."""
    encoder: SeqSleepNet | SleepFM
    if seqsleepnet.is_seqsleepnet(state):
        encoder = seqsleepnet.read_state(file.path, state)
    elif sleepfm.is_sleepfm(state):
        encoder = sleepfm.read_state(file.path, state)
    else:
        return None
    encoder.card.update(file.complete(encoder.card))
    return encoder


def _locate(name_or_path: Any) -> tuple[CheckpointFile, str | None]:
    """The file, and the pinned sha256 of a bundled encoder."""
    if isinstance(name_or_path, str) and name_or_path in BUNDLED:
        path = _WEIGHTS / f"{name_or_path}.safetensors"
        return CheckpointFile(path, name_or_path), BUNDLED[name_or_path]
    if name_or_path == seqsleepnet.NAME:
        return CheckpointFile(seqsleepnet.fetch_file(), seqsleepnet.NAME), None
    names = [*BUNDLED, seqsleepnet.NAME]
    accepted = f"Give the name of one ({', '.join(names)}), or a path or hf:// address."
    # an empty path would be this folder
    if not isinstance(name_or_path, str | os.PathLike) or not os.fspath(name_or_path):
        raise CheckpointError(f"{name_or_path!r} is no checkpoint. {accepted}")
    file = _hub.fetch(name_or_path)
    if file.path.exists():
        return file, None
    near = difflib.get_close_matches(str(name_or_path), names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise CheckpointError(f"no checkpoint {str(name_or_path)!r}.{hint} {accepted}")


def _read(path: Path) -> tuple[dict[str, Tensor], dict]:
    try:
        return read_safetensors(path)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: cannot be read, truncated or not a safetensors file ({error}). "
            f"Get it again. {_NO_OTHER_FORMAT}"
        ) from error


def _document_of(path: Path, metadata: Mapping[str, str]) -> dict:
    if _METADATA_KEY not in metadata:
        raise CheckpointError(
            f"{path}: a safetensors file of something else; it holds no sleep2vec_sklearn "
            f"configuration. {_NO_OTHER_FORMAT}"
        )
    try:
        document = parse_json(metadata[_METADATA_KEY])
        version = int(document["format_version"])
        if not isinstance(document["card"], Mapping):
            raise ValueError("its card is no mapping")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its description is damaged ({error!r}).") from error
    check_format_version(path, version, FORMAT_VERSION, CheckpointError)
    return document


def _stored(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    tensor = tensor.detach().to("cpu", copy=True).contiguous()
    if not tensor.is_floating_point():
        return tensor
    # a spread or a running variance may be below what float16 can tell from zero
    stored = tensor.to(dtype if tensor.ndim >= 2 else torch.float32)
    if not stored.isfinite().all():
        raise CheckpointError(
            f"{name} has values that are not finite{' as float16' if dtype.itemsize < 4 else ''}; "
            "not saved."
        )
    return stored


def recognise_hash(state: Mapping[str, Tensor], config: EncoderConfig, claimed: Any) -> str:
    """The sha256 of an encoder: as claimed, if it is that of these tensors as they may be stored.

    Tokens are cached by it, so what a file says of itself is not believed.
    """
    values = config.to_dict()
    for dtype in _DTYPES.values():
        digest = _hash_of({n: _stored(n, t, dtype) for n, t in state.items()}, values)
        if digest == claimed:
            return digest
    return _hash_of(state, values)


def _hash_of(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> str:
    return sha256(*tensor_parts(tensors), canonical_json(config))


def _check_fit(wrong: str, config: EncoderConfig, state: Mapping[str, Tensor]) -> None:
    if complaints := Sleep2Vec.differences(config, state):
        more = f"; and {len(complaints) - 5} more" if len(complaints) > 5 else ""
        raise CheckpointError(
            f"{wrong}, the tensors do not fit the configuration: {'; '.join(complaints[:5])}{more}."
        )
