# SPDX-License-Identifier: BSD-3-Clause
"""Fitted estimators in one safetensors file: tensors, and JSON in its metadata; no pickle.

The file holds the encoder too, so that it can be used where the checkpoint is not.
"""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from .._files import (
    canonical_json,
    check_format_version,
    sha256,
    tensor_parts,
    write_atomic,
)
from ..encoding.covariates import RecordingMetadata
from ..errors import CheckpointError
from ..model.checkpoint import BUNDLED, Checkpoint
from ..model.config import EncoderConfig
from ._cox_loss import BreslowBaseline
from ._data import Covariates
from .config import HeadConfig

__all__ = [
    "load_estimator",
    "save_estimator",
]

FORMAT_VERSION = 1
_METADATA_KEY = "sleep2vec_sklearn_estimator"
_ENCODER, _MODULE, _ARRAY = "encoder.", "module.", "array."
# of skorch, made anew from the others
_NOT_STORED = {"net_", "history_"}
_PARAMETERS_APART = {"checkpoint", "random_state", "cache", "verbose", "device"}


def save_estimator(estimator, path: str | os.PathLike) -> None:
    """Write a fitted estimator to one file, all of it or nothing.

    Raises
    ------
    NotFittedError
        Before ``fit``.
    CheckpointError
        If an attribute or parameter is nothing that JSON and tensors can hold, or there is no such
        folder.
    """
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(estimator, "net_")
    path = Path(path)
    if path.is_dir() or not path.parent.is_dir():
        raise CheckpointError(f"{path}: not saved; name a file in a folder that exists.")
    checkpoint = estimator._load_fitted_checkpoint()
    tensors = {_ENCODER + key: value for key, value in checkpoint.state.items()}
    module = estimator.net_.module_.state_dict()
    tensors |= {_MODULE + key: value.detach().cpu() for key, value in module.items()}
    arrays: dict[str, np.ndarray] = {}
    parameters = estimator.get_params(deep=False)
    fitted = {k: v for k, v in vars(estimator).items() if k.endswith("_") and k not in _NOT_STORED}
    try:
        document = {
            "format_version": FORMAT_VERSION,
            "class": f"{type(estimator).__module__}:{type(estimator).__qualname__}",
            "parameters": {
                k: _described(v, f"parameter {k}", arrays)
                for k, v in parameters.items()
                if k not in _PARAMETERS_APART
            },
            "fitted": {k: _described(v, k, arrays) for k, v in fitted.items()},
            "history": [
                {k: v for k, v in row.items() if isinstance(v, int | float)}
                for row in estimator.history_
            ],
            "encoder": {
                "config": checkpoint.config.to_dict(),
                "card": checkpoint.card,
                "name": checkpoint.name,
                "sha256": checkpoint.sha256,
            },
        }
        kept = {_ARRAY + k: torch.from_numpy(np.ascontiguousarray(a)) for k, a in arrays.items()}
        # tensors that share memory are refused
        tensors = {key: tensor.clone().contiguous() for key, tensor in (tensors | kept).items()}
        document["sha256"] = _digest(tensors, document)
        text = canonical_json(document)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not saved: {error}") from error
    write_atomic(path, to_bytes(tensors, metadata={_METADATA_KEY: text}))


def load_estimator(kind: type, path: str | os.PathLike):
    """Read what :func:`save_estimator` wrote; no code is run of it.

    Parameters
    ----------
    kind : type
        Class of the estimator that is expected.
    path : path-like

    Raises
    ------
    CheckpointError
        If the file is damaged, foreign, of another class, or made by a newer version.
    """
    path = Path(path)
    document, tensors = _read(path)
    try:
        check_format_version(path, document["format_version"], FORMAT_VERSION, CheckpointError)
        if document.pop("sha256") != _digest(tensors, document):
            raise CheckpointError(f"{path}: changed or damaged since it was written; get it again.")
        cls = _class_of(document["class"], kind, path)
        arrays = {k.removeprefix(_ARRAY): t.numpy() for k, t in tensors.items() if _ARRAY in k[:6]}
        parameters = {k: _revived(v, arrays) for k, v in document["parameters"].items()}
        checkpoint = _checkpoint_of(document["encoder"], tensors)
        bundled = BUNDLED.get(checkpoint.name) == checkpoint.sha256
        estimator = cls(checkpoint=checkpoint.name if bundled else checkpoint, **parameters)
        for name, value in document["fitted"].items():
            setattr(estimator, name, _revived(value, arrays))
        state = {k.removeprefix(_MODULE): t for k, t in tensors.items() if k.startswith(_MODULE)}
        _put_network(estimator, checkpoint, state, document["history"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{path}: its description cannot be used: {error!r}.") from error
    return estimator


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
    try:
        return json.loads(metadata[_METADATA_KEY]), tensors
    except ValueError as error:
        raise CheckpointError(f"{path}: its description is damaged ({error}).") from error


def _digest(tensors: dict[str, torch.Tensor], document: dict) -> str:
    return sha256(canonical_json(document), *tensor_parts(tensors))


def _class_of(name: str, kind: type, path: Path) -> type:
    module, _, qualname = name.partition(":")
    if module.split(".")[0] != __name__.split(".")[0]:
        own = f"{kind.__module__}:{kind.__qualname__}"
        cls = kind if own == name else None
    else:
        cls = getattr(importlib.import_module(module), qualname, None)
    if not (isinstance(cls, type) and issubclass(cls, kind)):
        raise CheckpointError(
            f"{path}: holds a {qualname}, not a {kind.__name__}. Load it with {qualname}.load()."
        )
    return cls


def _checkpoint_of(described: dict, tensors) -> Checkpoint:
    state = {k.removeprefix(_ENCODER): t for k, t in tensors.items() if k.startswith(_ENCODER)}
    return Checkpoint(
        EncoderConfig.from_dict(described["config"]),
        state,
        described["card"],
        described["sha256"],
        described["name"],
    )


def _put_network(estimator, checkpoint: Checkpoint, state: dict, history: list) -> None:
    from skorch.history import History

    from .._torch import resolve_device
    from ._run import build_module, make_net

    estimator.device_ = resolve_device("auto")
    with torch.random.fork_rng(devices=[]):
        module = build_module(estimator, estimator.head_config_, checkpoint)
    module.load_state_dict(state)
    net = make_net(estimator, module).initialize()
    net.module_.eval()
    net.history = History(history)
    estimator.net_ = net
    estimator.history_ = net.history


def _described(value, name: str, arrays: dict):
    """A value as JSON; numbers of arrays go to ``arrays``."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple):
        return {"tuple": [_described(v, f"{name}.{i}", arrays) for i, v in enumerate(value)]}
    if isinstance(value, list):
        return [_described(v, f"{name}.{i}", arrays) for i, v in enumerate(value)]
    if isinstance(value, dict):
        pairs = [
            [_described(k, name, arrays), _described(v, f"{name}.{k}", arrays)]
            for k, v in value.items()
        ]
        return {"dict": pairs}
    if isinstance(value, np.ndarray):
        if value.dtype.names:
            fields = {field: value[field] for field in value.dtype.names}
            return {"fields": _described(fields, name, arrays)}
        if value.dtype.kind in "OU":
            kind = "object" if value.dtype.kind == "O" else "text"
            return {kind: [_described(v, name, arrays) for v in value.tolist()]}
        arrays[name] = value
        return {"array": name}
    if isinstance(value, HeadConfig):
        return {"head_config": value.to_dict()}
    if isinstance(value, BreslowBaseline):
        parts = (value.times, value.log_hazard, value.center)
        return {"baseline": _described(parts, name, arrays)}
    if isinstance(value, Covariates):
        known = value.table and {k: v for k, v in vars(value.table).items() if k in _TABLE}
        parts = (known, value.time_of_night, value.mean, value.std)
        return {"covariates": _described(parts, name, arrays)}
    raise TypeError(f"{name} is a {type(value).__name__}, which JSON and tensors cannot hold.")


_TABLE = ("fields", "fields_", "sites_", "unit_", "n_features_out_")


def _revived(value, arrays: dict):
    """What :func:`_described` described."""
    if isinstance(value, list):
        return [_revived(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    if kind == "array":
        return arrays[inner]
    if kind == "tuple":
        return tuple(_revived(v, arrays) for v in inner)
    if kind == "dict":
        return {_revived(k, arrays): _revived(v, arrays) for k, v in inner}
    if kind in ("object", "text"):
        revived = np.empty(len(inner), dtype=object)
        revived[:] = [_revived(v, arrays) for v in inner]
        return revived if kind == "object" else revived.astype(str)
    if kind == "fields":
        fields = _revived(inner, arrays)
        revived = np.empty(
            next(iter(fields.values())).shape, [(name, v.dtype) for name, v in fields.items()]
        )
        for name, values in fields.items():
            revived[name] = values
        return revived
    if kind == "baseline":
        return BreslowBaseline(*_revived(inner, arrays))
    if kind == "head_config":
        return HeadConfig.from_dict(inner)
    if kind == "covariates":
        known, *rest = _revived(inner, arrays)
        return Covariates(known and _revived_table(known), *rest)
    raise ValueError(f"unknown kind {kind!r}")


def _revived_table(known: dict) -> RecordingMetadata:
    table = RecordingMetadata(fields=known["fields"]).set_output(transform="default")
    for name in _TABLE[1:]:
        setattr(table, name, known[name])
    return table
