# SPDX-License-Identifier: BSD-3-Clause
"""Files of fitted estimators and their encoders: safetensors with JSON, no pickle.

What is in a file is compared before it is used: attributes by an allow-list with types, sizes and
numbers with each other, and the encoder's hash, by which tokens are cached, with its tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save as to_bytes

from .._files import canonical_json, check_format_version, sha256, tensor_parts, write_atomic
from .._torch import building
from .._untrusted import check_finite, parse_json, read_safetensors, shown
from ..encoding._expert_blocks import TIME_COLUMNS
from ..encoding.covariates import RecordingMetadata
from ..errors import CheckpointError
from ..model.checkpoint import Checkpoint, recognise_hash
from ..model.config import EncoderConfig
from ..model.network import Sleep2Vec
from ._data import Covariates
from ._losses import BreslowBaseline
from ._network import Head, Standardised
from .config import HeadConfig, LoRA

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
    for part in ("parameters", "fitted"):
        if not isinstance(document[part], dict):
            raise ValueError(f"its {part} are no mapping")
    return SavedEstimator(
        str(document["class"]),
        {k: _from_json(v, arrays) for k, v in document["parameters"].items()},
        {k: _from_json(v, arrays) for k, v in document["fitted"].items()},
        _checked_history(document["history"]),
        _checked_encoder(document["encoder"], _with_prefix(tensors, _ENCODER)),
        _with_prefix(tensors, _MODULE),
    )


def _checked_encoder(described: Mapping, state: dict[str, torch.Tensor]) -> Checkpoint:
    """The encoder in a file, under the hash that its tensors have."""
    config = EncoderConfig.from_dict(described["config"])
    if differences := Sleep2Vec.differences(config, state):
        raise ValueError(f"the encoder does not fit its configuration: {differences[0]}")
    check_finite(state)
    if not isinstance(described["card"], Mapping) or not isinstance(described["name"], str):
        raise ValueError("the encoder's card or name is none")
    digest = recognise_hash(state, config, described["sha256"])
    return Checkpoint(config, state, dict(described["card"]), digest, described["name"])


def _checked_history(rows: Any) -> list[dict[str, Any]]:
    numbers = [v for row in rows for v in row.values()]
    if not isinstance(rows, list) or not all(isinstance(v, int | float) for v in numbers):
        raise ValueError("its history is no list of numbers by name")
    return rows


def check_module(state: Mapping[str, torch.Tensor], head: HeadConfig, finetune: Any) -> None:
    """Compare the sizes of a head and of adapters with the tensors, before either is made."""
    if isinstance(finetune, LoRA):
        ranks = {tensor.shape[0] for key, tensor in state.items() if ".lora_A." in key}
        if ranks != {finetune.rank}:
            raise ValueError(f"adapters of rank {shown(ranks)} for rank={shown(finetune.rank)}")
    with building(), torch.device("meta"):
        expected = Standardised(Head(head)).state_dict()
    prefix = "network." if finetune is None else "network.head."
    for key, tensor in expected.items():
        found = state.get(prefix + key)
        if found is None or (found.shape, found.dtype) != (tensor.shape, tensor.dtype):
            raise ValueError(f"the head has no {key} of shape {tuple(tensor.shape)}")
    check_finite(state)


def check_fitted(estimator: Any, kinds: Mapping[str, Any], checkpoint: Checkpoint) -> None:
    """Compare the fitted attributes of an estimator with their types and with each other."""
    for name, kind in kinds.items():
        value = getattr(estimator, name, ...)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            raise ValueError(f"{name} is {shown(value)}, no {shown(kind)}")
        numeric = isinstance(value, np.ndarray) and value.dtype.kind in "fc"
        if numeric and not np.isfinite(value).all():
            raise ValueError(f"{name} is not finite")
    head, config = estimator.head_config_, checkpoint.config
    covariates, chosen = estimator.covariates_, estimator.modalities
    if not isinstance(head, HeadConfig) or not isinstance(covariates, Covariates | None):
        raise ValueError("head_config_ or covariates_ is none")
    names = [chosen] if isinstance(chosen, str) else chosen or []
    fits = {
        "modalities": isinstance(names, list | tuple) and {*names} <= {*config.names},
        "unit_": estimator.unit_ == head.unit,
        "precision_": estimator.precision_ in ("float32", "bfloat16"),
        "modalities_": tuple(estimator.modalities_) == head.modalities,
        "modalities of the encoder": set(head.modalities) <= set(config.names),
        "hidden_size": head.hidden_size == config.hidden_size,
        "n_layers": head.n_layers in (1, config.n_layers),
        "n_outputs": head.n_outputs == estimator._n_outputs(),
        "covariates_": head.n_covariates == (0 if covariates is None else covariates.n_columns),
        "pooling": head.pooling != "cls" or head.unit == "epoch" or config.cls,
    }
    if unfit := [name for name, is_fit in fits.items() if not is_fit]:
        raise ValueError(f"{', '.join(unfit)} do not fit the head and the encoder")
    # what each class makes of outputs shows whether its own attributes fit each other
    estimator._try_outputs(np.zeros((2, head.n_outputs), dtype=np.float32))


def _with_prefix(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): t for k, t in tensors.items() if k.startswith(prefix)}


def _read(path: Path) -> tuple[dict, dict[str, torch.Tensor]]:
    try:
        tensors, metadata = read_safetensors(path)
        # copies, as the tensors read are a map of the file
        tensors = {key: tensor.clone() for key, tensor in tensors.items()}
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
    document = parse_json(metadata[_METADATA_KEY])
    if not isinstance(document, dict):
        raise ValueError("its description is no mapping")
    return document, tensors


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
        return _checked_baseline(*_from_json(inner, arrays))
    if tag == "head_config":
        return HeadConfig.from_dict(inner)
    if tag == "covariates":
        return _checked_covariates(*_from_json(inner, arrays))
    raise ValueError(f"unknown tag {tag!r}")


def _checked_baseline(times: Any, log_hazard: Any, center: Any) -> BreslowBaseline:
    arrays = [np.asarray(values, dtype=np.float64) for values in (times, log_hazard)]
    finite = all(np.isfinite(array).all() for array in arrays) and np.isfinite(float(center))
    ascending = (np.diff(arrays[0]) > 0).all() and (np.diff(arrays[1]) >= 0).all()
    if arrays[0].ndim != 1 or arrays[0].shape != arrays[1].shape or not (finite and ascending):
        raise ValueError("a baseline hazard that is none")
    return BreslowBaseline(arrays[0], arrays[1], float(center))


def _checked_covariates(values: Any, time_of_night: Any, mean: Any, std: Any) -> Covariates:
    table = _restore_table(values) if values else None
    n_stated = 0 if table is None else len(table._column_names())
    shape = (n_stated + bool(time_of_night) * len(TIME_COLUMNS),)
    if not isinstance(time_of_night, bool) or (table and table.n_features_out_ != n_stated):
        raise ValueError("covariates that do not fit each other")
    for array in (mean, std):
        if array.shape != shape or array.dtype != np.float32 or not np.isfinite(array).all():
            raise ValueError(f"statistics of covariates; accepted are finite ones of shape {shape}")
    if not (std > 0).all():
        raise ValueError("standard deviations of covariates that are not above 0")
    return Covariates(table, time_of_night, mean, std)


def _restore_table(values: dict[str, Any]) -> RecordingMetadata:
    fields = tuple(values["fields_"])
    # older files know words of sites only
    sites = {"site": values["sites_"]} if "site" in fields else {}
    known = {**values, "categories_": values.get("categories_", sites)}
    words = [*fields, *(word for own in known["categories_"].values() for word in own)]
    if not all(isinstance(word, str) for word in words) or len(set(fields)) < len(fields):
        raise ValueError("fields of covariates that are no names")
    if not {*known["categories_"]} <= {*fields} or known["unit_"] not in ("night", "epoch"):
        raise ValueError("categories of covariates that have no field")
    table = RecordingMetadata(fields=values["fields"]).set_output(transform="default")
    for name in _TABLE[1:]:
        setattr(table, name, known[name])
    return table
