# SPDX-License-Identifier: BSD-3-Clause
"""Examination of an installation: versions, extras, device, cache, encoders, and one staging."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ._files import check_writable

_EXTRAS = {
    "plot": (["matplotlib"], "figures and reports"),
    "mne": (["mne"], "formats other than EDF"),
    "parquet": (["pyarrow"], "Parquet files"),
    "fetch": (["pooch", "python_calamine"], "public data sets, SeqSleepNet"),
    "hub": (["huggingface_hub"], "encoders from the Hugging Face hub"),
    "wearables": (["actfast"], "binary files of ActiGraph, GENEActiv"),
    "yaml": (["yaml"], "configurations of the authors' files"),
    "dask": (["dask", "distributed"], "several machines"),
}


def examine() -> bool:
    """Print what is installed and whether it works; returns whether all of it does."""
    from . import show_versions

    show_versions()
    checks = {
        "extras": _examine_extras, "device": _examine_device, "cache": _examine_cache,
        "encoders": _examine_encoders, "self-test": _test_itself,
    }  # fmt: skip
    healthy = True
    for name, check in checks.items():
        try:
            lines = check()
        except Exception as error:
            # whatever is wrong with an installation is what this command is there to tell
            lines, healthy = [f"FAILED: {type(error).__name__}: {error}"], False
        print(f"\n{name}", *lines, sep="\n  ")
    return healthy


def _examine_extras() -> list[str]:
    lines = []
    for extra, (modules, purpose) in _EXTRAS.items():
        missing = [name for name in modules if importlib.util.find_spec(name) is None]
        state = f"pip install 'sleep2vec-sklearn[{extra}]'" if missing else "installed"
        lines.append(f"{extra:10} {purpose:38} {state}")
    return lines


def _examine_device() -> list[str]:
    import torch

    from ._torch import resolve_device

    return [f"device='auto' is {resolve_device('auto')}, {torch.get_num_threads()} threads"]


def _examine_cache() -> list[str]:
    from . import cache_info, get_config

    folder = get_config()["cache_dir"]
    if folder is None:
        return ["in memory; set_config(cache_dir=...) keeps tokens in a folder"]
    check_writable(Path(folder) / "probe")
    return [f"{folder}: {cache_info()}"]


def _examine_encoders() -> list[str]:
    from .model import load_checkpoint
    from .model.checkpoint import BUNDLED
    from .model.external.seqsleepnet import NAME, find_file

    # loading compares the hash with the one that is written in the code
    lines = [f"{name}: sha256 {load_checkpoint(name).sha256[:12]}, as released" for name in BUNDLED]
    is_there = "downloaded" if find_file() else "not downloaded; --stager seqsleepnet does so"
    return [*lines, f"{NAME}: {is_there}"]


def _test_itself() -> list[str]:
    from . import make_sleep_cohort, stage_night

    night = make_sleep_cohort(1, hours=1, modalities=["ibi"], missing=0, random_state=0)[0]
    return [f"a simulated hour is staged: {stage_night(night, cache=None)}"]
