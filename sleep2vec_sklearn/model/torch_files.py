# SPDX-License-Identifier: BSD-3-Clause
"""Files of ``torch.save``, read without running anything that is in them."""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path

import torch

from ..errors import CheckpointError

__all__ = ["load_torch_file"]

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
