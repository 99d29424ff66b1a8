# SPDX-License-Identifier: BSD-3-Clause
"""Fine-tuning: estimators that train heads, adapters and encoders, and bundled or read networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .classifier import Sleep2VecClassifier
from .config import EventRules, FullFineTuning, LoRA
from .cox import Sleep2VecCoxRegressor
from .events import Sleep2VecEventDetector
from .regressor import Sleep2VecRegressor
from .staged_night import StagedNight
from .stager import stage_night
from .upstream import load_finetuned

if TYPE_CHECKING:
    from ._upstream_network import UpstreamNetwork

__all__ = [
    "EventRules",
    "FullFineTuning",
    "LoRA",
    "Sleep2VecClassifier",
    "Sleep2VecCoxRegressor",
    "Sleep2VecEventDetector",
    "Sleep2VecRegressor",
    "StagedNight",
    "UpstreamNetwork",
    "load_finetuned",
    "stage_night",
]


def __getattr__(name: str) -> Any:
    # lazy: it is a torch module
    if name == "UpstreamNetwork":
        from ._upstream_network import UpstreamNetwork

        return UpstreamNetwork
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
