# SPDX-License-Identifier: BSD-3-Clause
"""Devices, precision, randomness, statistics and optimizer groups of everything that trains."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

# torch is imported where it is used, so that estimators can be imported without it
if TYPE_CHECKING:
    import torch
    from torch import nn

_SECONDS_TO_START = 60
_starting = threading.Lock()
# torch has one generator for all threads: what is drawn by one must not depend on the others
_drawing = threading.RLock()
_is_forked = False


def _note_fork() -> None:
    global _drawing, _starting, _is_forked
    _drawing, _starting, _is_forked = threading.RLock(), threading.Lock(), True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def resolve_device(device: str) -> str:
    """Name a torch device, "auto" being a GPU if there is one.

    Raises
    ------
    ValueError
        If the device is unknown or not available.
    """
    import torch

    if isinstance(device, str) and device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if not isinstance(device, str | int | torch.device):
            raise TypeError(f"{type(device).__name__} names none.")
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"device {device!r} is not available here: {str(error).rstrip('.')}. Use 'auto' or "
            "'cpu'."
        ) from error
    return str(device)


def resolve_precision(precision: str, device: str) -> str:
    """Name a precision, "auto" being bfloat16 where the hardware multiplies it fast."""
    if precision != "auto":
        return precision
    import torch

    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    capability = getattr(torch.backends.cpu, "get_cpu_capability", lambda: "")()
    return "bfloat16" if capability.startswith("AVX512") and _has_bf16_products() else "float32"


def _has_bf16_products() -> bool:
    import torch

    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, lambda: False)() for check in checks)


@contextmanager
def own_modes() -> Iterator[None]:
    """Gradients, precision and numpy's warnings as by default, whatever a notebook has set.

    Also a decorator. All of it is this thread's alone. In a forked process torch computes with one
    thread meanwhile: those of OpenMP were not forked, and it would wait for them without end.
    """
    import torch

    with ExitStack() as modes:
        if _is_forked:
            modes.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
        modes.enter_context(np.errstate(divide="warn", over="warn", under="ignore", invalid="warn"))
        modes.enter_context(torch.inference_mode(False))
        modes.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                modes.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_dtype() != torch.float32:
            # not always, as it takes a moment at every call of torch
            modes.enter_context(_float32_mode()())
        yield


@contextmanager
def inference() -> Iterator[None]:
    """:func:`own_modes` without gradients."""
    import torch

    with own_modes(), torch.inference_mode():
        yield


@lru_cache(maxsize=1)
def _float32_mode() -> type:
    """The class of modes in which new tensors are float32, whatever torch's default is."""
    import torch
    from torch.overrides import TorchFunctionMode

    factories = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.linspace}

    class Float32Mode(TorchFunctionMode):
        """Of this thread alone, as torch.set_default_dtype is not."""

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            kwargs = dict(kwargs or {})
            if func in factories and kwargs.get("dtype") is None:
                kwargs["dtype"] = torch.float32
            return func(*args, **kwargs)

    return Float32Mode


@contextmanager
def building(seed: int = 0) -> Iterator[None]:
    """How networks are made: in float32, from a seed; the global generator is put back."""
    import torch

    with _drawing, torch.random.fork_rng(devices=[]), _float32_mode()():
        # not torch.manual_seed, which would seed the accelerators too
        torch.default_generator.manual_seed(seed)
        yield


@contextmanager
def step_randomness(numbers: Sequence[int], device: str | torch.device) -> Iterator[None]:
    """Seed torch's generators by ``numbers`` for a while; the global state is put back."""
    import torch

    device = torch.device(device)
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    if device.type == "cpu":
        with _drawing, torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield
        return
    module = getattr(torch, device.type)
    index = module.current_device() if device.index is None else device.index
    with _drawing, torch.random.fork_rng(devices=[index], device_type=device.type):
        torch.default_generator.manual_seed(seed)
        module.manual_seed(seed)
        yield


@contextmanager
def single_threaded(n_workers: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of threads in each of which torch computes with one thread."""
    import torch

    started = threading.Barrier(n_workers + 1)

    def begin() -> None:
        # torch sets a thread's number at its first use, from the one that was set last anywhere
        torch.get_num_threads()
        torch.set_num_threads(1)
        # of this thread alone; what has a gradient asks for it
        torch.set_grad_enabled(False)

    with ThreadPoolExecutor(n_workers, initializer=begin) as pool:
        # another thread would take the one thread of these for what was set before
        with _starting:
            before = torch.get_num_threads()
            try:
                for _ in range(n_workers):
                    pool.submit(started.wait)
                started.wait(_SECONDS_TO_START)
            except BaseException as error:
                # also by Ctrl-C: those that did start would wait for the others forever
                started.abort()
                if not isinstance(error, RuntimeError):
                    raise
                raise RuntimeError(
                    f"the system did not start the {n_workers} threads that compute ({error!r}). "
                    "Ask for fewer with torch.set_num_threads, or raise its limit (ulimit -u)."
                ) from error
            finally:
                torch.set_num_threads(before)
        yield pool


class RunningStatistics:
    """Mean and standard deviation of rows that come in parts, summed in double precision."""

    def __init__(self) -> None:
        self.count = 0
        self.total: np.ndarray | float = 0.0
        self.squares: np.ndarray | float = 0.0

    def update(self, rows: np.ndarray) -> None:
        """Add rows of shape (n, ...)."""
        rows = rows.astype(np.float64)
        self.count += len(rows)
        self.total = self.total + rows.sum(axis=0)
        self.squares = self.squares + (rows**2).sum(axis=0)

    def mean_and_std(self, smallest_std: float) -> tuple[np.ndarray, np.ndarray]:
        """Mean and deviation; the deviation of what does not vary, up to ``smallest_std``, is 1."""
        mean = np.asarray(self.total / self.count)
        std = np.sqrt(np.maximum(self.squares / self.count - mean**2, 0))
        return mean, np.where(std > smallest_std, std, 1.0)


def rate_factor(step: int, total: int, warmup: float, floor: float) -> float:
    """Share of the peak learning rate at a step, counted from 0.

    Linear warm-up over a share of the steps, then half a cosine down to a share of the peak, which
    holds beyond the last step.
    """
    n_warm = max(int(warmup * total), 1) if warmup else 0
    if step < n_warm:
        return (step + 1) / n_warm
    progress = min((step - n_warm) / max(total - n_warm, 1), 1.0)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def decay_groups(
    parameters: Iterable[tuple[str, nn.Parameter]],
    weight_decay: float,
    scale: Callable[[str], float] = lambda name: 1.0,
) -> list[dict]:
    """Optimizer groups: matrices decay; biases, norms, masks and the CLS token do not.

    ``scale`` gives the ``lr_scale`` of a parameter by its name: the fastest group comes first, and
    what has 0 is in none.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in parameters:
        is_matrix = parameter.ndim >= 2 and "norm" not in name and "bias" not in name
        groups.setdefault((scale(name), is_matrix), []).append(parameter)
    return [
        {"params": group, "weight_decay": weight_decay if decays else 0.0, "lr_scale": lr_scale}
        for (lr_scale, decays), group in sorted(groups.items(), key=lambda g: g[0], reverse=True)
        if lr_scale
    ]
