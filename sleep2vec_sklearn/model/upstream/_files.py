# SPDX-License-Identifier: BSD-3-Clause
"""Where the configuration of one of the authors' checkpoints is: in the file, or beside it."""

from __future__ import annotations

import json
import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ...errors import CheckpointError

__all__ = [
    "find_configuration",
    "is_sound",
    "load_torch_file",
    "neighbours",
    "state_in",
]

_FOLDER = "checkpoints"


def state_in(path: Path, document) -> dict[str, Tensor]:
    """The state dict of what a file holds, which may be one itself.

    Raises
    ------
    CheckpointError
        If there is none, or it holds something else than finite tensors.
    """
    state = document.get("state_dict", document) if isinstance(document, Mapping) else None
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError(
            f"{path}: holds {type(document).__name__} without a state_dict, so not a Lightning "
            "checkpoint. Accepted: what trainer.save_checkpoint() writes, or a plain state dict "
            "with config=."
        )
    odd = sorted(
        str(key)
        for key, value in state.items()
        if not isinstance(key, str) or not isinstance(value, Tensor)
    )
    if odd:
        raise CheckpointError(
            f"{path}: these entries of its state dict are no named tensors: {', '.join(odd)}. "
            "A whole Lightning checkpoint has them under 'state_dict'."
        )
    return dict(state)


def is_sound(tensor: Tensor) -> bool:
    """Whether all values are finite."""
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def neighbours(path: Path) -> list[Path]:
    """YAML files that may describe a checkpoint, the likeliest first."""
    places = [path.with_suffix(".yaml"), path.with_suffix(".yml"), path.parent / "config.yaml"]
    if path.parent.name == _FOLDER:
        places.append(path.parent.parent / "config.yaml")
    return [place for place in places if place.is_file()]


def find_configuration(path: Path, document: Mapping, given=None) -> Mapping:
    """What is given, else the file's ``model_config``, else a YAML file beside it.

    Parameters
    ----------
    path : Path
    document : mapping
        What the file holds.
    given : mapping or path-like, optional
        The configuration, or a YAML or JSON file of it.

    Raises
    ------
    CheckpointError
        If there is none, or it cannot be parsed.
    ImportError
        If it is a YAML file and pyyaml is not installed.
    """
    if isinstance(given, Mapping):
        return given
    if given is not None:
        return _parse_file(Path(os.fspath(given)))
    if isinstance(document.get("model_config"), Mapping):
        return document["model_config"]
    if isinstance(document.get("model_config_yaml"), str):
        return _parse_yaml(f"{path}, model_config_yaml", document["model_config_yaml"])
    beside = neighbours(path)
    if beside:
        return _parse_file(beside[0])
    plain = "" if "state_dict" in document else "a plain state dict: "
    raise CheckpointError(
        f"{path}: {plain}it holds no model_config, and there is no {path.stem}.yaml or config.yaml "
        f"beside it. Put the YAML it was trained with there, or use "
        f"convert_checkpoint({path.name!r}, 'mine.safetensors', config='config.yaml')."
    )


def _parse_file(path: Path) -> Mapping:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: the configuration cannot be read ({error}).") from error
    if path.suffix == ".json":
        try:
            return _as_mapping(path, json.loads(text))
        except ValueError as error:
            raise CheckpointError(f"{path}: no JSON ({error}).") from error
    return _parse_yaml(path, text)


def _parse_yaml(where, text: str) -> Mapping:
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            f"{where}: the configuration is YAML, which needs pyyaml: pip install "
            "'sleep2vec-sklearn[yaml]'. Or pass it parsed: convert_checkpoint(..., config={...})."
        ) from error
    try:
        return _as_mapping(where, yaml.safe_load(text))
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise CheckpointError(f"{where}: no YAML ({problem}).") from error


def _as_mapping(where, values) -> Mapping:
    if not isinstance(values, Mapping):
        raise CheckpointError(
            f"{where}: a configuration is a mapping with 'model', got {type(values).__name__}."
        )
    return values


_RESAVE = (
    "Where you trust the file and can import what it needs, write its weights again: "
    "d = torch.load(path, weights_only=False); torch.save({k: d[k] for k in ('state_dict', "
    "'model_config', 'finetune_config') if k in d}, 'plain.ckpt')"
)


def load_torch_file(path: Path):
    """What ``torch.save`` wrote: tensors, containers, numbers and text, and nothing else.

    The tensors of a zip file are maps of it, so optimizer states cost no memory; copy what is kept.

    Raises
    ------
    CheckpointError
        If the file is truncated, damaged, of another kind, or holds pickled Python objects.
    """
    if path.is_dir():
        raise CheckpointError(
            f"{path}: a folder, such as DeepSpeed writes. Make one file of it, with its "
            "zero_to_fp32.py or Lightning's convert_zero_checkpoint_to_fp32_state_dict()."
        )
    try:
        with path.open("rb") as file:
            head = file.read(2)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error}).") from error
    if head == b"PK":
        _check_zip(path)
    elif not head.startswith(b"\x80"):
        raise CheckpointError(
            f"{path}: {'empty' if not head else 'not a file of torch.save'}, so not a Lightning "
            "checkpoint. Get it again; a file of save_checkpoint() is named .safetensors."
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=head == b"PK")
    except pickle.UnpicklingError as error:
        raise _refusal(path, error) from error
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle may fail in any way
        raise _damaged(path, error) from error


def _check_zip(path: Path) -> None:
    """Sums of all records: torch does not look at them in a file that it maps."""
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except MemoryError:
        raise
    except Exception as error:  # a damaged archive may fail in any way, too
        raise _damaged(path, error) from error
    if bad is not None:
        raise _damaged(path, f"wrong checksum of {bad}")


def _damaged(path: Path, why) -> CheckpointError:
    why = " ".join(str(why).split()) or type(why).__name__
    return CheckpointError(
        f"{path}: truncated or damaged, or not a checkpoint ({why[:160]}). Get the file again."
    )


def _refusal(path: Path, error: pickle.UnpicklingError) -> CheckpointError:
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    if found is None and "Unsupported" not in str(error):
        return _damaged(path, "its pickle cannot be read")
    name = f" ({found.group(1)})" if found else ""
    return CheckpointError(
        f"{path}: holds Python objects{name} beside tensors and plain values; loading them could "
        f"run code, so it is never done here. {_RESAVE}"
    )
