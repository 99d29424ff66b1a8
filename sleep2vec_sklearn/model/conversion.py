# SPDX-License-Identifier: BSD-3-Clause
"""The authors' checkpoints as files of this library."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ..signals import Conditioning
from .checkpoint import check_target, save_checkpoint
from .lightning import read_upstream_checkpoint

__all__ = ["convert_checkpoint"]


def convert_checkpoint(
    source: str | os.PathLike,
    target: str | os.PathLike,
    *,
    config: Mapping | str | os.PathLike | None = None,
    weights: str = "auto",
    adapter: str | None = None,
    alpha: float | None = None,
    conditioning: str | Mapping[str, Conditioning] = "as given",
    context_epochs: int | None = None,
    card: Mapping | None = None,
    dtype: str = "float32",
) -> str:
    """Write the encoder of a Lightning checkpoint of the authors as a safetensors file.

    Parameters
    ----------
    source : path-like
        A ``.ckpt`` file of pretraining or fine-tuning; of the latter the backbone is taken.
    target : path-like
        File to write, such as ``"mine.safetensors"``.
    config, weights, adapter, alpha, conditioning, context_epochs
        See :func:`read_upstream_checkpoint`.
    card : mapping, optional
        JSON values that describe the encoder, beside what the file says.
    dtype : {"float32", "float16"}
        See :func:`save_checkpoint`.

    Returns
    -------
    str
        The new checkpoint's sha256.

    Raises
    ------
    CheckpointError
        If the source cannot be read, is of another network, or the target cannot be written.
    ImportError
        If the configuration is YAML and pyyaml is not installed.

    Examples
    --------
    >>> from sleep2vec_sklearn.model import convert_checkpoint
    >>> convert_checkpoint("last.ckpt", "mine.safetensors")  # doctest: +SKIP
    """
    source, target = Path(source), Path(target)
    # before the work, which may be long
    check_target(target)
    found = read_upstream_checkpoint(
        source,
        config=config,
        weights=weights,
        adapter=adapter,
        alpha=alpha,
        conditioning=conditioning,
        context_epochs=context_epochs,
    )
    card = {**found.card, **(card or {})}
    return save_checkpoint(target, found.state, found.config, card=card, dtype=dtype)
