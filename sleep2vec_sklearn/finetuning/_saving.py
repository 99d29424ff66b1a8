# SPDX-License-Identifier: BSD-3-Clause
"""Files of fitted estimators and their encoders: safetensors with JSON, no pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from .._files import canonical_json, check_format_version, sha256, tensor_parts, write_atomic
from ..encoding.covariates import RecordingMetadata
from ..errors import CheckpointError
from ..model.checkpoint import Checkpoint
from ..model.config import EncoderConfig
from ._data import Covariates
from ._losses import BreslowBaseline
from .config import HeadConfig

# 2: rank and learning rate of the encoder, and rules of events, are parameters of nested objects
FORMAT_VERSION = 2
_METADATA_KEY = "sleep2vec_sklearn_estimator"
_ENCODER, _MODULE, _ARRAY = "encoder.", "module.", "array."
_TABLE = ("fields", "fields_", "categories_", "sites_", "unit_", "n_features_out_")


@dataclass(frozen=True, slots=True, eq=False)
class SavedEstimator:
    """What a file holds of a fitted estimator."""

    class_name: str
    parameters: dict[str, Any]
    fitted: dict[str, Any]
    history: list[dict[str, Any]]
    checkpoint: Checkpoint
    module: dict[str, torch.Tensor]


def write_estimator(path: Path, saved: SavedEstimator) -> None:
    """Write a fitted estimator to one file, all of it or nothing."""
    if path.is_dir() or not path.parent.is_dir():
        raise CheckpointError(f"{path}: not saved; name a file in a folder that exists.")
    checkpoint = saved.checkpoint
    tensors = {_ENCODER + key: value for key, value in checkpoint.state.items()}
    tensors |= {_MODULE + key: value.detach().cpu() for key, value in saved.module.items()}
    arrays: dict[str, np.ndarray] = {}
    try:
        document = {
            "format_version": FORMAT_VERSION,
            "class": saved.class_name,
            "parameters": {
                k: _to_json(v, f"parameter {k}", arrays) for k, v in saved.parameters.items()
            },
            "fitted": {k: _to_json(v, k, arrays) for k, v in saved.fitted.items()},
            "history": [
                {k: v for k, v in row.items() if isinstance(v, int | float)}
                for row in saved.history
            ],
            "encoder": {
                "config": checkpoint.config.to_dict(),
                "card": checkpoint.card,
                "name": checkpoint.name,
                "sha256": checkpoint.sha256,
            },
        }
        tensors |= {
            _ARRAY + k: torch.from_numpy(np.ascontiguousarray(a)) for k, a in arrays.items()
        }
        # safetensors refuses tensors that share memory
        tensors = {key: tensor.clone().contiguous() for key, tensor in tensors.items()}
        document["sha256"] = _digest(tensors, document)
        text = canonical_json(document)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not saved: {error}") from error
    write_atomic(path, to_bytes(tensors, metadata={_METADATA_KEY: text}))


def read_estimator(path: Path) -> SavedEstimator:
    """Read a file of :func:`write_estimator`; no code is run of it."""
    document, tensors = _read(path)
    check_format_version(path, document["format_version"], FORMAT_VERSION, CheckpointError)
    if document.pop("sha256") != _digest(tensors, document):
        raise CheckpointError(f"{path}: changed or damaged since it was written; get it again.")
    arrays = {k: tensor.numpy() for k, tensor in _with_prefix(tensors, _ARRAY).items()}
    encoder = document["encoder"]
    return SavedEstimator(
        document["class"],
        {k: _from_json(v, arrays) for k, v in document["parameters"].items()},
        {k: _from_json(v, arrays) for k, v in document["fitted"].items()},
        document["history"],
        Checkpoint(
            EncoderConfig.from_dict(encoder["config"]),
            _with_prefix(tensors, _ENCODER),
            encoder["card"],
            encoder["sha256"],
            encoder["name"],
        ),
        _with_prefix(tensors, _MODULE),
    )


def _with_prefix(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def _read(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # copies, as the tensors read are a map of the file
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: cannot be read, truncated or not a safetensors file ({error}). Accepted are "
            "files that the save() of an estimator wrote."
        ) from error
    if _METADATA_KEY not in metadata:
        raise CheckpointError(
            f"{path}: a safetensors file of something else, no fitted estimator. Encoders are read "
            "by load_checkpoint()."
        )
    return json.loads(metadata[_METADATA_KEY]), tensors


def _digest(tensors: dict[str, torch.Tensor], document: dict[str, Any]) -> str:
    return sha256(canonical_json(document), *tensor_parts(tensors))


def _to_json(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """A value as JSON; numbers of arrays go to ``arrays``."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple | list):
        items = [_to_json(v, f"{name}.{i}", arrays) for i, v in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict):
        keys = [_to_json(key, name, arrays) for key in value]
        items = [_to_json(item, f"{name}.{key}", arrays) for key, item in value.items()]
        return {"dict": [list(pair) for pair in zip(keys, items, strict=True)]}
    if isinstance(value, np.ndarray):
        if value.dtype.names:
            fields = {field: value[field] for field in value.dtype.names}
            return {"fields": _to_json(fields, name, arrays)}
        if value.dtype.kind in "OU":
            tag = "object" if value.dtype.kind == "O" else "text"
            return {tag: [_to_json(v, name, arrays) for v in value.tolist()]}
        arrays[name] = value
        return {"array": name}
    if isinstance(value, HeadConfig):
        return {"head_config": value.to_dict()}
    if isinstance(value, BreslowBaseline):
        baseline = (value.times, value.log_hazard, value.center)
        return {"baseline": _to_json(baseline, name, arrays)}
    if isinstance(value, Covariates):
        table = value.table and {k: v for k, v in vars(value.table).items() if k in _TABLE}
        covariates = (table, value.time_of_night, value.mean, value.std)
        return {"covariates": _to_json(covariates, name, arrays)}
    raise TypeError(f"{name} is a {type(value).__name__}, which JSON and tensors cannot hold.")


def _from_json(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """The value from :func:`_to_json`."""
    if isinstance(value, list):
        return [_from_json(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    ((tag, inner),) = value.items()
    if tag == "array":
        return arrays[inner]
    if tag == "tuple":
        return tuple(_from_json(v, arrays) for v in inner)
    if tag == "dict":
        return {_from_json(k, arrays): _from_json(v, arrays) for k, v in inner}
    if tag in ("object", "text"):
        objects = np.empty(len(inner), dtype=object)
        objects[:] = [_from_json(v, arrays) for v in inner]
        return objects if tag == "object" else objects.astype(str)
    if tag == "fields":
        fields = _from_json(inner, arrays)
        shape = next(iter(fields.values())).shape
        structured = np.empty(shape, [(name, v.dtype) for name, v in fields.items()])
        for name, values in fields.items():
            structured[name] = values
        return structured
    if tag == "baseline":
        return BreslowBaseline(*_from_json(inner, arrays))
    if tag == "head_config":
        return HeadConfig.from_dict(inner)
    if tag == "covariates":
        table, *rest = _from_json(inner, arrays)
        return Covariates(table and _restore_table(table), *rest)
    raise ValueError(f"unknown tag {tag!r}")


def _restore_table(values: dict[str, Any]) -> RecordingMetadata:
    table = RecordingMetadata(fields=values["fields"]).set_output(transform="default")
    # older files know words of sites only
    sites = {"site": values["sites_"]} if "site" in values["fields_"] else {}
    for name in _TABLE[1:]:
        setattr(table, name, values.get(name, sites))
    return table
