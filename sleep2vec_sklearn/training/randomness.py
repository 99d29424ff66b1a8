# SPDX-License-Identifier: BSD-3-Clause
"""Random numbers of torch that follow from a few integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch

__all__ = ["step_randomness"]


@contextmanager
def step_randomness(numbers: Sequence[int], device) -> Iterator[None]:
    """Seed torch's generators by ``numbers`` for a while; the global state is put back."""
    device = torch.device(device)
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    if device.type == "cpu":
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield
        return
    module = getattr(torch, device.type)
    place = module.current_device() if device.index is None else device.index
    with torch.random.fork_rng(devices=[place], device_type=device.type):
        torch.default_generator.manual_seed(seed)
        module.manual_seed(seed)
        yield
