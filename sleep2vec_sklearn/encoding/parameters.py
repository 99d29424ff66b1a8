# SPDX-License-Identifier: BSD-3-Clause
"""What the parameters of the transformer may be, alone and with a checkpoint."""

from __future__ import annotations

import numbers
import warnings

from ..errors import CheckpointError, ModalityWarning
from ..signals.modality import MODALITIES, list_modalities
from .cache import check_cache
from .context import n_around
from .fusion import FUSIONS, POOLINGS
from .inputs import EncoderInput

__all__ = ["check_parameters", "choose_modalities"]


def check_parameters(transformer) -> None:
    """Refuse values that no checkpoint makes sense of.

    Raises
    ------
    ValueError
        If a parameter is not one of those accepted.
    """
    _check_choice("fusion", transformer.fusion, FUSIONS)
    _check_choice("pooling", transformer.pooling, POOLINGS)
    _check_choice("precision", transformer.precision, ("float32", "bfloat16", "auto"))
    _check_choice("on_error", transformer.on_error, ("raise", "nan"))
    check_cache(transformer.cache)
    n_around(transformer.context_minutes)
    size = transformer.batch_size
    if size is not None and (not isinstance(size, numbers.Integral) or size < 1):
        raise ValueError(f"batch_size must be a positive integer or None, got {size!r}.")


def choose_modalities(transformer, config, given: EncoderInput, stacklevel: int) -> tuple[str, ...]:
    """The modalities to encode: the parameter, else all that the checkpoint supports.

    Raises
    ------
    CheckpointError
        If the checkpoint lacks what the parameters ask for.
    """
    layer, pooling = transformer.layer, transformer.pooling
    supported = tuple(m.name for m in config.modalities)
    if layer == "projection" and config.projection is None:
        raise CheckpointError("layer='projection': this checkpoint has no projection head.")
    if pooling == "cls" and not (config.cls and layer != "projection"):
        raise CheckpointError("pooling='cls': this checkpoint has no CLS token to give.")
    if layer not in ("last", "projection"):
        _check_choice("layer", layer, ("last", "projection", *range(config.n_layers + 1)))
    if transformer.modalities is not None:
        chosen = tuple(list_modalities(transformer.modalities))
        unsupported = [name for name in chosen if name not in supported]
        if unsupported or not chosen:
            raise CheckpointError(
                f"modalities={transformer.modalities!r}: this checkpoint supports "
                f"{', '.join(supported)}. Choose at least one of these."
            )
        return chosen
    # what a reader derived unasked is no loss of the user's
    found = {
        name
        for recording in given.recordings
        for name in recording.modalities
        if name not in recording.derived
    }
    ignored = [name for name in MODALITIES if name in found and name not in supported]
    if ignored:
        warnings.warn(
            f"{', '.join(ignored)}: not supported by this checkpoint and ignored; it supports "
            f"{', '.join(supported)}.",
            ModalityWarning,
            stacklevel=stacklevel + 1,
        )
    return supported


def _check_choice(name: str, value, accepted) -> None:
    if isinstance(value, bool) or value not in accepted:
        listed = ", ".join(repr(choice) for choice in accepted)
        raise ValueError(f"{name} must be one of {listed}; got {value!r}.")
