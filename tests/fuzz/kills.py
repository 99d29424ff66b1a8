# SPDX-License-Identifier: BSD-3-Clause
"""Calls that write and are killed: at a byte of a file, between two uses of files, at a time.

A call runs in a fork, which has everything imported. It is ended by signals that run no more
Python, as SIGKILL does; some calls of the command are processes of their own. What it leaves is
compared with what a call that was not killed writes, and so is what the same call leaves after it.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from sleep2vec_sklearn import (
    EmbeddingTable,
    EpochSequence,
    Sleep2VecClassifier,
    Sleep2VecTransformer,
    load_checkpoint,
    stage_night,
)
from sleep2vec_sklearn.cli import main
from sleep2vec_sklearn.datasets import write_edf_cohort
from sleep2vec_sklearn.model import save_checkpoint
from sleep2vec_sklearn.pretraining import prepare_cohort
from sleep2vec_sklearn.reports import night_report
from tests.fuzz.stored import nights
from tests.fuzz.targets import Target
from tests.pretraining.nights import make_night, tiny_pretrainer

_HOURS = 3600
_IN_PROCESS, _SHARE_OF_PROCESSES = ("stage", "embed"), 0.6
_SECONDS_OF_A_PROCESS = 4.0
# what differs between two calls: the time and pictures of a report, the time in Stata's files, and
# names of manifests
_UNEQUAL = {
    ".html": re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d|base64,[\w+/=]+"),
    ".dta": re.compile(rb"<timestamp>.{18}", re.DOTALL),
}
_MANIFEST = re.compile(r"manifest-\d+-[0-9a-f]+")


@cache
def scratch():
    return tempfile.TemporaryDirectory(prefix="sleep2vec-kills-")


@cache
def study():
    """Two nights as EDF+ files."""
    folder = Path(scratch().name, "study")
    write_edf_cohort(nights()[:2], folder)
    return folder


@cache
def transformer():
    return Sleep2VecTransformer(center="night", cache=None).fit(EpochSequence(nights()))


@cache
def table(variant):
    return transformer().embed(epochs(variant))


def epochs(variant):
    return EpochSequence(nights()[: 3 - variant])


@cache
def classifier(variant):
    X = epochs(0)
    y = np.arange(len(X)) % 3
    return Sleep2VecClassifier(max_epochs=1, random_state=variant, verbose=0).fit(X, y)


@cache
def staged(variant):
    return stage_night(nights()[variant], cache=None)


def save_tables(*suffixes):
    def save(folder, variant):
        for suffix in suffixes:
            table(variant).save(folder / f"rows.{suffix}", nights().metadata)

    return save


def stream_tables(folder, variant):
    for suffix in ("npz", "parquet"):
        transformer().embed(epochs(variant), folder / f"rows.{suffix}")


def save_checkpoints(folder, variant):
    tiny = load_checkpoint("sleep2vec-mini")
    dtype = ("float32", "float16")[variant]
    for name in ("mine.safetensors", "mine"):
        save_checkpoint(folder / name, tiny.state, tiny.config, card={"name": "x"}, dtype=dtype)


def pretrain(folder, variant):
    run = tiny_pretrainer(state_dir=folder / "run", save_every=1)
    checkpoint = run.fit([make_night(k) for k in range(8)]).checkpoint()
    save_checkpoint(folder / "mine.safetensors", checkpoint.state, checkpoint.config)


def fill_cache(folder, variant):
    Sleep2VecTransformer(cache=folder / "cache").fit_transform(nights())


def prepare(folder, variant):
    prepare_cohort(nights(), folder / "store", modalities=["ibi", "spo2"], verbose=0)


def write_staged(folder, variant):
    staged(variant).to_csv(folder / "stages.csv")
    staged(variant).to_edf(folder / "stages.edf")


def command_of(name, folder):
    arguments = {"stage": ["--out", str(folder / "staged"), "--format", "both"],
                 "embed": ["--out", str(folder / "rows.npz"), "--epochs"]}[name]  # fmt: skip
    return [name, str(study()), *arguments]


def call_command(name):
    def call(folder, variant):
        assert main(command_of(name, folder)) == 0

    return call


@dataclass(frozen=True)
class Operation:
    """A call that writes into a folder, and whether it replaces what another one has written."""

    write: Callable[[Path, int], None]
    replaces: bool = True


OPERATIONS = {
    "tables": Operation(save_tables("npz", "parquet")),
    "exports": Operation(save_tables("csv", "dta")),
    "streams": Operation(stream_tables),
    "estimator": Operation(lambda folder, v: classifier(v).save(folder / "clf.safetensors")),
    "checkpoints": Operation(save_checkpoints),
    "pretraining": Operation(pretrain, replaces=False),
    "cache": Operation(fill_cache, replaces=False),
    "store": Operation(prepare, replaces=False),
    "staged": Operation(write_staged),
    "report": Operation(lambda folder, v: night_report(nights()[v], folder / "night.html")),
    "edf": Operation(lambda folder, v: write_edf_cohort(nights()[: 3 - v], folder)),
    "stage": Operation(call_command("stage"), replaces=False),
    "embed": Operation(call_command("embed"), replaces=False),
}


def in_child(function):
    """Status of a fork that runs this, and the text that it returns or raises."""
    receiver, sender = os.pipe()
    pid = os.fork()
    if pid == 0:
        text, status = "", 1
        try:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 1)
            os.dup2(null, 2)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            text, status = str(function() or ""), 0
        except BaseException as error:
            text = f"{type(error).__name__}: {error}"
        finally:
            os.write(sender, text.encode(errors="replace")[:4096])
            os._exit(status)
    os.close(sender)
    with os.fdopen(receiver, "rb") as answer:
        text = answer.read().decode()
    return os.waitpid(pid, 0)[1], text


def count_uses(folder, last=None):
    """Count what the process does to files of a folder, or kill it before such an act."""
    n_uses, within = [0], os.fspath(folder)

    def hook(event, arguments):
        if event in ("open", "os.rename", "os.link", "os.remove", "os.mkdir"):
            places = [place for place in arguments[:2] if isinstance(place, str | os.PathLike)]
            if any(os.fspath(place).startswith(within) for place in places):
                if n_uses[0] == last:
                    os.kill(os.getpid(), signal.SIGKILL)
                n_uses[0] += 1

    sys.addaudithook(hook)
    return n_uses


@dataclass(frozen=True)
class Sound:
    """What a call that is not killed writes and takes."""

    contents: dict[str, bytes]
    n_uses: int
    seconds: float


@cache
def sound_of(name, variant=0):
    folder = Path(scratch().name, f"{name}-{variant}")
    folder.mkdir()
    work = folder / "work"
    for path in (folder / "first", work):
        path.mkdir()
    # here, so that forks find what is cached in memory
    OPERATIONS[name].write(folder / "first", variant)

    def measure():
        n_uses, begin = count_uses(work), time.process_time()
        OPERATIONS[name].write(work, variant)
        return json.dumps([n_uses[0], time.process_time() - begin])

    status, text = in_child(measure)
    assert status == 0, text
    return Sound(contents_of(work), *json.loads(text))


def is_temporary(path):
    return path.name.endswith(".unfinished")


def contents_of(folder):
    """Bytes by name of all files that are not temporary, without what differs between two calls."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not is_temporary(path):
            name, data = _MANIFEST.sub("manifest", str(path.relative_to(folder))), path.read_bytes()
            if path.suffix == ".gz":
                data = gzip.decompress(data)
            elif path.suffix in _UNEQUAL:
                data = _UNEQUAL[path.suffix].sub(b"", data)
            elif path.suffix == ".pt":
                data = b""  # holds how long steps took
            found[name] = data
    return found


def make_corpus(folder):
    for name in OPERATIONS:
        (folder / name / "work").mkdir(parents=True)
    return sorted(folder.iterdir())


def kill(rng, path):
    """Begin the call, perhaps over what another has written, and kill it."""
    name, work = path.name, path / "work"
    operation, sound = OPERATIONS[name], sound_of(path.name)
    if operation.replaces and rng.random() < 0.5:
        sound_of(name, 1)
        status, text = in_child(lambda: operation.write(work, 1))
        assert status == 0, text
        (path / "replaced").touch()
    kind, place = int(rng.integers(3)), float(rng.random())
    largest = max(map(len, sound.contents.values()))

    def begin():
        if kind == 0:
            count_uses(work, int(place * sound.n_uses))
        elif kind == 1:
            # a write past this byte ends a process that does not ignore the signal
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            limit = int(place * largest)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        elif name in _IN_PROCESS and rng.random() < _SHARE_OF_PROCESSES:
            command = [sys.executable, "-m", "sleep2vec_sklearn", *command_of(name, work)]
            signal.setitimer(signal.ITIMER_PROF, place * _SECONDS_OF_A_PROCESS)
            os.execv(sys.executable, command)
        else:
            # of the processor, which the load of the machine does not move
            signal.setitimer(signal.ITIMER_PROF, max(place * sound.seconds, 1e-4))
        operation.write(work, 0)

    in_child(begin)


def check(path):
    name, work = path.name, path / "work"
    sound = sound_of(name).contents
    before = sound_of(name, 1).contents if (path / "replaced").exists() else {}
    found = contents_of(work)
    problems = [f"{lost} is lost" for lost in sorted(before.keys() - found.keys())]
    for file, content in found.items():
        if content not in (sound.get(file), before.get(file)) and not is_part(work / file):
            problems.append(f"{file} is neither the old nor the new one")
    for file in work.rglob("*.unfinished"):
        if file.is_file():
            old = time.time() - 2 * _HOURS
            os.utime(file, (old, old))
    status, text = in_child(lambda: OPERATIONS[name].write(work, 0))
    if status:
        return [*problems, f"the next call fails: {text}"]
    after = contents_of(work)
    problems += [f"{file} is another one" for file in sound if after.get(file) != sound[file]]
    problems += [f"{file} is left" for file in sorted(after.keys() - sound.keys() - before.keys())]
    problems += [f"{file.name} is left" for file in work.rglob("*.unfinished") if file.is_file()]
    outside = {file.name for file in path.iterdir()} - {"work", "replaced"}
    return problems + [f"{file} is outside" for file in sorted(outside)]


def is_part(path):
    """Whether a file that the call deletes at its end is whole."""
    return path.suffix == ".npz" and "parts" in path.parent.name and len(EmbeddingTable.load(path))


TARGET = Target(make_corpus, kill, check, n_full=400, n_slice=4)
