# SPDX-License-Identifier: BSD-3-Clause
"""Runs of damaged inputs in a child process with limits of time and memory.

The child writes a line of JSON when it begins an input and one when that has ended. The parent
kills it if an input takes too long, and starts another one behind it. Lines are kept in a file, so
that a run goes on where it was stopped.
"""

from __future__ import annotations

import json
import os
import resource
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests.fuzz.targets import check_corpus, load_target, make_input, run_input

# slow by the time of the processor, as machines are shared; killed by the clock
SLOW_SECONDS, KILL_SECONDS = 10.0, 40.0
LARGE_MB, ADDRESS_BYTES = 1024, 8 << 30
FAULTS = ("foreign", "different", "slow", "large", "crashed")


def work(kind, seed, first, stop, done):
    """The child: every input of a range that is not done."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
    target = load_target(kind)
    with tempfile.TemporaryDirectory() as folder:
        corpus = target.make_corpus(Path(folder, "corpus"))
        check_corpus(target, corpus, Path(folder, "sound"))
        for index in range(first, stop):
            if index in done:
                continue
            print(json.dumps({"begin": index}), flush=True)
            path = make_input(target, corpus, seed, index, Path(folder, f"input{index % 2}"))
            _reset_peak()
            begin = time.process_time()
            outcome = run_input(target, path)
            seconds, peak = time.process_time() - begin, _peak_mb()
            found = outcome.kind
            if found not in FAULTS:
                found = "slow" if seconds > SLOW_SECONDS else found
                found = "large" if peak > LARGE_MB else found
            line = {"index": index, "outcome": found, "text": outcome.text,
                    "seconds": round(seconds, 2), "peak_mb": round(peak)}  # fmt: skip
            print(json.dumps(line), flush=True)


def _reset_peak():
    # elsewhere than in Linux, the peak is that of the whole process
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb():
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run(kind, n, seed, folder, progress=None):
    """Outcomes by number of all inputs; those of earlier runs are read from the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{kind}-{seed}.jsonl"
    outcomes = read_log(log)
    with log.open("a", encoding="utf-8") as file:

        def keep(line):
            outcomes[line["index"]] = line
            file.write(json.dumps(line) + "\n")
            file.flush()
            if progress is not None:
                progress(len(outcomes))

        while any(index not in outcomes for index in range(n)):
            _run_child(kind, n, seed, outcomes, keep)
    return {index: outcomes[index] for index in range(n)}


def read_log(path):
    """Outcomes of a log by their number; a last line that was cut is left out."""
    found = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        found[line["index"]] = line
    return found


def _run_child(kind, n, seed, outcomes, keep):
    """One child, until it has done all inputs, or one of them ended it."""
    first = next(index for index in range(n) if index not in outcomes)
    command = [sys.executable, "-m", "tests.fuzz", "--work", kind, str(seed), str(first), str(n)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, env=environment
        )
        child.stdin.write(json.dumps(sorted(outcomes)).encode())
        child.stdin.close()
        current = _follow(child, keep)
        status = child.wait()
        if current is None:
            errors.seek(0)
            text = errors.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{kind} cannot begin:\n{text}")
        if status and current not in outcomes:
            ended = "slow" if status == -signal.SIGKILL else "crashed"
            keep({"index": current, "outcome": ended, "text": f"ended by status {status}"})


def _follow(child, keep):
    """Keep what a child writes until it ends or is killed; the number of its last input."""
    current, buffer = None, b""
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while True:
            # the first line comes after imports and the sound inputs
            if not selector.select(KILL_SECONDS * (10 if current is None else 1)):
                child.kill()
                return current
            chunk = os.read(child.stdout.fileno(), 1 << 16)
            if not chunk:
                return current
            *lines, buffer = (buffer + chunk).split(b"\n")
            for text in lines:
                line = json.loads(text)
                current = line.get("begin", current)
                if "begin" not in line:
                    keep(line)


def count(outcomes):
    """Number of inputs by outcome, the slowest in s and the largest in MB."""
    counts = Counter(line["outcome"] for line in outcomes.values())
    seconds = max((line.get("seconds", 0) for line in outcomes.values()), default=0)
    peak = max((line.get("peak_mb", 0) for line in outcomes.values()), default=0)
    return counts, seconds, peak
