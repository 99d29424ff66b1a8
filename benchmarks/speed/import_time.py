# SPDX-License-Identifier: BSD-3-Clause
"""Seconds that importing takes, each in fresh interpreters that take turns.

``python -m benchmarks.speed.import_time [--repeats 7] [--hours 8]``

Then the command that embeds one night, in a process of its own, against a process that imports
torch and scikit-learn: the wall clock's seconds, and processor time, which others who use the
machine hardly change. The night is simulated, of a laboratory and of nine modalities.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from sleep2vec_sklearn import make_sleep_cohort
from sleep2vec_sklearn.datasets import write_edf_cohort

STATEMENTS = {
    "nothing": "pass",
    "sleep2vec_sklearn": "import sleep2vec_sklearn",
    "sklearn.base and preprocessing": "import sklearn.base, sklearn.preprocessing",
    "sleep2vec_sklearn.Sleep2VecTransformer": "import sleep2vec_sklearn as s; "
    "s.Sleep2VecTransformer",
}
_TIMED = "import time; t = time.perf_counter(); {}; print(time.perf_counter() - t)"


def seconds(statement: str) -> float:
    """What one fresh interpreter takes for a statement, its own start left out."""
    command = [sys.executable, "-c", _TIMED.format(statement)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)


def process_seconds(arguments: list[str]) -> tuple[float, float]:
    """Seconds and processor time of a whole process of Python."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    # as after installing, with bytecode
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True, env=environment)
    taken, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return taken, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def compare_command(folder: Path, hours: float, repeats: int) -> np.ndarray:
    """Seconds and processor time [repeats, 2, 2] of the imports, and of the command."""
    cohort = make_sleep_cohort(
        1, hours=hours, n_sites=1, site_kinds=["laboratory"], missing=0, random_state=4
    )
    (edf,) = write_edf_cohort(cohort, folder)
    imports = ["-c", "import torch, sklearn"]
    command = ["-m", "sleep2vec_sklearn", "embed", str(edf), "--out"]
    turns = [
        [process_seconds(imports), process_seconds([*command, str(folder / f"{k}.npz")])]
        for k in range(repeats + 1)
    ]
    return np.array(turns[1:])


def main() -> None:
    """Print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--hours", type=float, default=8.0, help="of the night that is embedded")
    options = parser.parse_args()
    runs = [
        {name: seconds(statement) for name, statement in STATEMENTS.items()}
        for _ in range(options.repeats + 1)
    ][1:]
    for name in STATEMENTS:
        values = [run[name] for run in runs]
        print(f"{name:40s} {np.median(values):.3f} s  ({min(values):.3f} to {max(values):.3f})")
    with tempfile.TemporaryDirectory() as folder:
        turns = compare_command(Path(folder), options.hours, options.repeats)
    for kind, (imports, command) in zip(("seconds", "processor time"), turns.T, strict=True):
        print(
            f"sleep2vec embed, {kind}: {np.median(command):.2f} s, "
            f"{np.median(command / imports):.2f} times as long as importing torch and "
            f"scikit-learn ({np.median(imports):.2f} s)"
        )


if __name__ == "__main__":
    main()
