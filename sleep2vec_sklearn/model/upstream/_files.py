# SPDX-License-Identifier: BSD-3-Clause
"""Files of the paper's authors: torch checkpoints, and the YAML that describes them."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ..._untrusted import check_plain, check_regular, load_torch, parse_json, shown
from ..._warnings import listed
from ...errors import CheckpointError
from .._hub import CheckpointFile, fetch
from .layout import read_section

# of a YAML or JSON file; those of the authors have 200 lines
LONGEST_CONFIGURATION = 2**18
MOST_NODES = 20_000
_LONGEST_PROBLEM = 300
_FOLDER = "checkpoints"
_YAML = ("*.yaml", "*.yml")
# one of these is in every configuration
_SECTIONS = ("model", "finetune", "backbone")
_RESAVE = (
    "Where you trust the file and can import what it needs, write its weights again: "
    "d = torch.load(path, weights_only=False); torch.save({k: d[k] for k in ('state_dict', "
    "'model_config', 'finetune_config') if k in d}, 'plain.ckpt')"
)


def locate(path: str | os.PathLike) -> CheckpointFile:
    """The file that a user names, of whom all who read one of the authors' ask it here."""
    # an empty path would be this folder
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise CheckpointError(
            f"{path!r} is no checkpoint; accepted is a path or hf:// address of an authors' .ckpt."
        )
    return fetch(path)


def is_torch_file(path: Path) -> bool:
    """Whether a file is a zip or pickle, as ``torch.save`` writes it, by its first bytes."""
    try:
        check_regular(path)
        with path.open("rb") as file:
            head = file.read(9)
    except OSError:
        return False
    # safetensors begin with a length, which may be the same bytes, and a JSON object
    return head.startswith((b"PK", b"\x80")) and head[8:] != b"{"


def load_torch_file(path: Path) -> Any:
    """What ``torch.save`` wrote, in plain types; the tensors of a zip file are maps of it."""
    if path.is_dir():
        raise CheckpointError(
            f"{path}: a folder, such as DeepSpeed writes. Make one file of it, with its "
            "zero_to_fp32.py or Lightning's convert_zero_checkpoint_to_fp32_state_dict()."
        )
    try:
        check_regular(path)
        with path.open("rb") as file:
            head = file.read(2)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}).") from error
    is_zip = head == b"PK"
    if not is_zip and not head.startswith(b"\x80"):
        raise CheckpointError(
            f"{path}: {'empty' if not head else 'not a file of torch.save'}, so not a Lightning "
            "checkpoint. Get it again; a file of save_checkpoint() is named .safetensors."
        )
    try:
        return load_torch(path, mmap=True)
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
    unfit = [
        k[:60] if isinstance(k, str) else shown(k)
        for k, v in state.items()
        if not (isinstance(k, str) and isinstance(v, Tensor))
    ]
    if unfit:
        raise CheckpointError(
            f"{path}: these entries of its state dict are no named tensors: "
            f"{listed(sorted(unfit))}. A whole Lightning checkpoint has them under 'state_dict'."
        )
    return dict(state)


def configuration_files(path: Path) -> list[Path]:
    """YAML files that may describe a checkpoint, the likeliest first."""
    paths = _usual_files(path)
    # a download has one of any name
    others = _yaml_files(path.parent)
    if len(others) == 1 and others[0] not in paths:
        paths.append(others[0])
    return [candidate for candidate in paths if candidate.is_file()]


def _usual_files(path: Path) -> list[Path]:
    paths = [path.with_suffix(".yaml"), path.with_suffix(".yml"), path.parent / "config.yaml"]
    if path.parent.name == _FOLDER:
        paths.append(path.parent.parent / "config.yaml")
    return paths


def _yaml_files(folder: Path) -> list[Path]:
    return sorted(other for ending in _YAML for other in folder.glob(ending))


def section_beside(path: Path, section: str) -> Mapping:
    """A section of the YAML file next to a checkpoint, empty without such a file or section."""
    return read_section(_values_beside(path) or {}, section)


def _values_beside(path: Path) -> Mapping | None:
    """What the likeliest YAML file next to a checkpoint says; None if none is of it."""
    usual = _usual_files(path)
    for candidate in configuration_files(path):
        if candidate in usual:
            return _parse_file(candidate)
        # one of any other name may be of anything
        with contextlib.suppress(CheckpointError):
            values = _parse_file(candidate)
            if any(isinstance(values.get(name), Mapping) for name in _SECTIONS):
                return values
    return None


def find_finetuning(path: Path, document: Mapping, values: Mapping) -> Mapping | None:
    """The configuration of fine-tuning: of the checkpoint, of ``values``, or of a YAML file."""
    sections = [document.get("finetune_config"), values.get("finetune")]
    if not any(isinstance(section, Mapping) for section in sections):
        text = document.get("finetune_config_yaml")
        if isinstance(text, str):
            sections.append(_parse_yaml(f"{path}, finetune_config_yaml", text))
        elif "model" not in values:
            # the file's own model_config, which is nothing but that
            sections.append(section_beside(path, "finetune") or None)
    for section in sections:
        if isinstance(section, Mapping):
            check_plain(section, finite=False)
            return read_section(section, "finetune") if "finetune" in section else section
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
        check_plain(document["model_config"], finite=False)
        return document["model_config"]
    if isinstance(document.get("model_config_yaml"), str):
        return _parse_yaml(f"{path}, model_config_yaml", document["model_config_yaml"])
    values = _values_beside(path)
    if values is not None:
        return values
    others = [other.name for other in _yaml_files(path.parent)]
    plain = "" if "state_dict" in document else "a plain state dict: "
    raise CheckpointError(
        f"{path}: {plain}it holds no model_config, and there is no {path.stem}.yaml or config.yaml "
        f"next to it (YAML files there: {listed(others, 8) or 'none'}). Pass that of its training "
        f"to load_finetuned() or convert_checkpoint(): config={(others or ['config.yaml'])[0]!r}."
    )


def _parse_file(path: Path) -> Mapping:
    try:
        check_regular(path)
        if (size := path.stat().st_size) > LONGEST_CONFIGURATION:
            raise ValueError(f"{size:,} bytes; accepted are up to {LONGEST_CONFIGURATION:,}")
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: the configuration cannot be read ({error}).") from error
    if path.suffix != ".json":
        return _parse_yaml(path, text)
    try:
        return _as_mapping(path, parse_json(text, finite=False))
    except ValueError as error:
        raise CheckpointError(f"{path}: no JSON ({error}).") from error


def _parse_yaml(path: object, text: str) -> Mapping:
    try:
        import yaml
    except ImportError as error:
        raise ImportError(
            f"{path}: the configuration is YAML, which needs pyyaml: pip install "
            "'sleep2vec-sklearn[yaml]'. Or pass it parsed to load_finetuned() or "
            "convert_checkpoint(), config={...}; or context_epochs= alone, the window of training, "
            "where the file has all the rest."
        ) from error
    try:
        if len(text) > LONGEST_CONFIGURATION:
            raise ValueError(f"{len(text):,} characters; up to {LONGEST_CONFIGURATION:,}")
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            # before anything is made of it: aliases repeat what they stand for
            _count_nodes(node, {})
            return _as_mapping(path, None if node is None else loader.construct_document(node))
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem = " ".join(str(error).split())[:_LONGEST_PROBLEM]
        raise CheckpointError(f"{path}: no YAML ({problem}).") from error


def _count_nodes(node: Any, known: dict[int, int]) -> int:
    """How many values a YAML node is, each alias counted as what it repeats."""
    if id(node) not in known:
        # of a node within itself, which never ends
        known[id(node)] = MOST_NODES + 1
        value = getattr(node, "value", "")
        pairs = [value] if isinstance(value, str) else value
        parts = [p for pair in pairs for p in (pair if isinstance(pair, tuple) else (pair,))]
        known[id(node)] = 1 + sum(_count_nodes(p, known) for p in parts if not isinstance(p, str))
    if known[id(node)] > MOST_NODES:
        raise ValueError(f"more than {MOST_NODES:,} values, each alias counted as what it repeats")
    return known[id(node)]


def _as_mapping(path: object, values: Any) -> Mapping:
    if not isinstance(values, Mapping):
        raise CheckpointError(
            f"{path}: a configuration is a mapping with 'model', got {type(values).__name__}."
        )
    check_plain(values, finite=False)
    return values
