# SPDX-License-Identifier: BSD-3-Clause
"""Networks of others with the tensors of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..._warnings import listed
from ...errors import CheckpointError

Network = TypeVar("Network", bound=nn.Module)


def build_network(
    make: Callable[[], Network], state: Mapping[str, Tensor], what: str, fix: str
) -> Network:
    """The network in eval mode, or a CheckpointError that says what is unlike it."""
    # without numbers: drawing them would change torch's generator
    with torch.device("meta"):
        network = make()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    unlike = [
        f"{name} {found.get(name, 'missing')}, accepted {shapes.get(name, 'none')}"
        for name in sorted({*shapes, *found})
        if shapes.get(name) != found.get(name)
    ]
    if unlike:
        raise CheckpointError(f"the tensors are not those of {what}: {listed(unlike, 3)}. {fix}")
    if not all(tensor.isfinite().all() for tensor in state.values()):
        raise CheckpointError(f"tensors are not finite: the file is damaged. {fix}")
    # copies, as what was read is a map of the file
    copies = {
        name: tensor.to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
        for name, tensor in state.items()
    }
    network.load_state_dict(copies, assign=True)
    return network.eval().requires_grad_(False)
