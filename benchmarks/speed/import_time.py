# SPDX-License-Identifier: BSD-3-Clause
"""Seconds that importing takes, each in fresh interpreters that take turns.

``python -m benchmarks.speed.import_time [--repeats 7]``
"""

from __future__ import annotations

import argparse
import subprocess
import sys

import numpy as np

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


def main() -> None:
    """Print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    runs = [
        {name: seconds(statement) for name, statement in STATEMENTS.items()}
        for _ in range(options.repeats + 1)
    ][1:]
    for name in STATEMENTS:
        values = [run[name] for run in runs]
        print(f"{name:40s} {np.median(values):.3f} s  ({min(values):.3f} to {max(values):.3f})")


if __name__ == "__main__":
    main()
