# SPDX-License-Identifier: BSD-3-Clause
"""What is attacked: kinds of files, their sound inputs, how they are damaged and read.

A kind is a module of this folder, named in ``MODULES``, with a ``TARGET``, or one of its targets.
It is imported when it is asked for, as some need optional packages.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from sleep2vec_sklearn.errors import Sleep2VecError

MODULES = {
    "edf": "edf",
    "hypnograms": "hypnograms",
    "npz": "npz",
    "mne": "mne_formats",
    "wearables": "wearables",
    "public": "public_sets",
    "tables": "tables",
    "inputs": "inputs",
    "checkpoints": "stored:CHECKPOINTS",
    "upstream": "stored:UPSTREAM",
    "estimators": "stored:ESTIMATORS",
    "embeddings": "stored:EMBEDDINGS",
    "states": "stored:STATES",
    "stores": "stored:STORES",
    "kills": "kills",
}


@dataclass(frozen=True)
class Target:
    """One kind of file.

    ``make_corpus`` writes sound inputs, files or folders, into a folder; always the same ones.
    ``mutate`` damages a copy of one in place. ``check`` reads it as a user does: it raises an
    ``accepted`` error if the input is refused, and lists what differs from an independent reader.
    ``n_full`` inputs are a full run, ``n_slice`` those of ``make test``.
    """

    make_corpus: Callable[[Path], list[Path]]
    mutate: Callable[[np.random.Generator, Path], None]
    check: Callable[[Path], list[str]]
    n_full: int = 1000
    n_slice: int = 20
    accepted: tuple[type[Exception], ...] = (Sleep2VecError,)


@dataclass(frozen=True)
class Outcome:
    """How one input ended: read, refused, different (silently) or foreign (an exception)."""

    kind: str
    text: str = ""


def load_target(kind):
    """The target of a kind."""
    module, _, name = MODULES[kind].partition(":")
    return getattr(import_module(f"tests.fuzz.{module}"), name or "TARGET")


def check_corpus(target, corpus, folder):
    """Read the sound inputs, all of which must be accepted; it imports what reading them needs."""
    for source in corpus:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            differences = target.check(_copy(source, folder))
        assert not differences, f"{source.name}: {differences}"


def _copy(source, folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = folder / source.name
    if source.is_dir():
        shutil.copytree(source, path)
    else:
        # with its companions, which have its stem
        for part in source.parent.glob(f"{source.stem}*"):
            shutil.copy(part, folder / part.name)
    return path


def make_input(target, corpus, seed, index, folder):
    """The damaged input of a number, a copy in an empty folder; the same whenever it is made."""
    rng = np.random.default_rng([seed, index])
    path = _copy(corpus[int(rng.integers(len(corpus)))], folder)
    target.mutate(rng, path)
    return path


def run_input(target, path):
    """Read one input and say how it ended."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            differences = target.check(path)
    except target.accepted as error:
        named = path.name.partition(".")[0] in str(error) or path.parent.name in str(error)
        return Outcome("refused", "" if named else f"without its name: {error}")
    except Exception as error:
        return Outcome("foreign", f"{type(error).__name__}: {str(error)[:200]}")
    return Outcome("different", "; ".join(differences)[:500]) if differences else Outcome("read")
