# SPDX-License-Identifier: BSD-3-Clause
"""Device, precision and random numbers of torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch


def resolve_device(device: str) -> str:
    """Name a torch device, "auto" being a GPU if there is one; ValueError if there is no such."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if device is None:
            raise TypeError("None names none.")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"device {device!r} is not available here: {error} Use 'auto' or 'cpu'."
        ) from error
    return str(device)


def resolve_precision(precision: str, device: str) -> str:
    """Name a precision, "auto" being bfloat16 where the hardware multiplies it fast."""
    if precision != "auto":
        return precision
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    capability = getattr(torch.backends.cpu, "get_cpu_capability", lambda: "")()
    return "bfloat16" if capability.startswith("AVX512") and _has_bf16_products() else "float32"


def _has_bf16_products() -> bool:
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


@contextmanager
def step_randomness(numbers: Sequence[int], device: str | torch.device) -> Iterator[None]:
    """Seed torch's generators with ``numbers`` within the block; the global state is restored."""
    device = torch.device(device)
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    if device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield
        return
    module = getattr(torch, device.type)
    index = module.current_device() if device.index is None else device.index
    with torch.random.fork_rng(devices=[index], device_type=device.type):
        torch.default_generator.manual_seed(seed)
        module.manual_seed(seed)
        yield
