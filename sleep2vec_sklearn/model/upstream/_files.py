# SPDX-License-Identifier: BSD-3-Clause
"""Files of the paper's authors: torch checkpoints, and the YAML that describes them."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..._files import check_zip
from ...errors import CheckpointError
from .._hub import fetch

_FOLDER = "checkpoints"
_RESAVE = (
    "Where you trust the file and can import what it needs, write its weights again: "
    "d = torch.load(path, weights_only=False); torch.save({k: d[k] for k in ('state_dict', "
    "'model_config', 'finetune_config') if k in d}, 'plain.ckpt')"
)


def locate(path: str | os.PathLike) -> Path:
    """The file that a user names, of whom all who read a fine-tuned network ask it here."""
    if not isinstance(path, str | os.PathLike):
        raise CheckpointError(
            f"{path!r} is no checkpoint; accepted is a path or hf:// address of an authors' .ckpt."
        )
    return fetch(path).path


def is_torch_file(path: Path) -> bool:
    """Whether a file is a zip or pickle, as ``torch.save`` writes it, by its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(2)
    except OSError:
        return False
    return head == b"PK" or head.startswith(b"\x80")


def load_torch_file(path: Path) -> Any:
    """What ``torch.save`` wrote, in plain types; the tensors of a zip file are maps of it."""
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
    is_zip = head == b"PK"
    if not is_zip and not head.startswith(b"\x80"):
        raise CheckpointError(
            f"{path}: {'empty' if not head else 'not a file of torch.save'}, so not a Lightning "
            "checkpoint. Get it again; a file of save_checkpoint() is named .safetensors."
        )
    try:
        if is_zip:
            check_zip(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except MemoryError:
        raise
    except pickle.UnpicklingError as error:
        raise _refusal(path, error) from error
    except Exception as error:  # a damaged archive or pickle may fail in any way
        raise _damaged(path, error) from error


def _damaged(path: Path, why: object) -> CheckpointError:
    why = " ".join(str(why).split()) or type(why).__name__
    return CheckpointError(
        f"{path}: truncated or damaged, or not a checkpoint ({why[:160]}). Get the file again."
    )


def _refusal(path: Path, error: pickle.UnpicklingError) -> CheckpointError:
    name = re.search(r"GLOBAL ([\w.]+)", str(error))
    if name is None and "Unsupported" not in str(error):
        return _damaged(path, "its pickle cannot be read")
    return CheckpointError(
        f"{path}: holds Python objects{f' ({name[1]})' if name else ''} besides tensors and plain "
        f"values; loading them could run code, so it is never done here. {_RESAVE}"
    )


def state_in(path: Path, document: Any) -> dict[str, Tensor]:
    """The state dict of what a file holds, which may be one itself."""
    state = document.get("state_dict", document) if isinstance(document, Mapping) else None
    if not isinstance(state, Mapping) or not state:
        raise CheckpointError(
            f"{path}: holds {type(document).__name__} without a state_dict, so not a Lightning "
            "checkpoint. Accepted: what trainer.save_checkpoint() writes, or a plain state dict "
            "with config=."
        )
    unfit = [k for k, v in state.items() if not (isinstance(k, str) and isinstance(v, Tensor))]
    if unfit:
        raise CheckpointError(
            f"{path}: these entries of its state dict are no named tensors: "
            f"{', '.join(sorted(map(str, unfit)))}. A whole Lightning checkpoint has them under "
            "'state_dict'."
        )
    return dict(state)


def configuration_files(path: Path) -> list[Path]:
    """YAML files that may describe a checkpoint, the likeliest first."""
    paths = [path.with_suffix(".yaml"), path.with_suffix(".yml"), path.parent / "config.yaml"]
    if path.parent.name == _FOLDER:
        paths.append(path.parent.parent / "config.yaml")
    # a download has one of any name
    others = [other for ending in ("*.yaml", "*.yml") for other in path.parent.glob(ending)]
    if len(others) == 1 and others[0] not in paths:
        paths.append(others[0])
    return [candidate for candidate in paths if candidate.is_file()]


def section_beside(path: Path, section: str) -> Mapping | None:
    """A section of the YAML file next to a checkpoint; None if there is no such file or section."""
    files = configuration_files(path)
    found = _parse_file(files[0]).get(section) if files else None
    return found if isinstance(found, Mapping) else None


def find_finetuning(path: Path, document: Mapping, values: Mapping) -> Mapping | None:
    """The configuration of fine-tuning: of the checkpoint, of ``values``, or of a YAML file."""
    sections = [document.get("finetune_config"), values.get("finetune")]
    if not any(isinstance(section, Mapping) for section in sections):
        text = document.get("finetune_config_yaml")
        if isinstance(text, str):
            sections.append(_parse_yaml(f"{path}, finetune_config_yaml", text))
        elif "model" not in values:
            # the file's own model_config, which is nothing but that
            sections.append(section_beside(path, "finetune"))
    for section in sections:
        if isinstance(section, Mapping):
            return section.get("finetune", section)
    return None


def find_configuration(
    path: Path, document: Mapping, config: Mapping | str | os.PathLike | None = None
) -> Mapping:
    """``config`` or its file, else the checkpoint's ``model_config``, else a YAML file."""
    if isinstance(config, Mapping):
        return config
    if config is not None:
        return _parse_file(Path(os.fspath(config)))
    if isinstance(document.get("model_config"), Mapping):
        return document["model_config"]
    if isinstance(document.get("model_config_yaml"), str):
        return _parse_yaml(f"{path}, model_config_yaml", document["model_config_yaml"])
    files = configuration_files(path)
    if files:
        return _parse_file(files[0])
    plain = "" if "state_dict" in document else "a plain state dict: "
    raise CheckpointError(
        f"{path}: {plain}it holds no model_config, and there is no {path.stem}.yaml or config.yaml "
        f"next to it. Put the YAML it was trained with there, or use "
        f"convert_checkpoint({path.name!r}, 'mine.safetensors', config='config.yaml')."
    )


def _parse_file(path: Path) -> Mapping:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: the configuration cannot be read ({error}).") from error
    if path.suffix != ".json":
        return _parse_yaml(path, text)
    try:
        return _as_mapping(path, json.loads(text))
    except ValueError as error:
        raise CheckpointError(f"{path}: no JSON ({error}).") from error


def _parse_yaml(path: object, text: str) -> Mapping:
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            f"{path}: the configuration is YAML, which needs pyyaml: pip install "
            "'sleep2vec-sklearn[yaml]'. Or pass it parsed: convert_checkpoint(..., config={...})."
        ) from error
    try:
        return _as_mapping(path, yaml.safe_load(text))
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise CheckpointError(f"{path}: no YAML ({problem}).") from error


def _as_mapping(path: object, values: Any) -> Mapping:
    if not isinstance(values, Mapping):
        raise CheckpointError(
            f"{path}: a configuration is a mapping with 'model', got {type(values).__name__}."
        )
    return values
