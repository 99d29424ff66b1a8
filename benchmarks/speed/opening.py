# SPDX-License-Identifier: BSD-3-Clause
"""Opening a large cohort: seconds and peak memory for its nights, labels, tables and report.

``python -m benchmarks.speed.opening [--nights 5000] [--jobs 1]``

One simulated night of 15 minutes is stored under the names of the SHHS, two visits of each
participant with their labels, with a table of covariates; every measurement is a process of its
own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Write the nights, open them in a fresh process, print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nights", type=int, default=5000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--measure", metavar="FOLDER")
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.jobs)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_nights(Path(folder), options.nights)
        command = [sys.executable, "-m", "benchmarks.speed.opening", "--jobs", str(options.jobs)]
        subprocess.run([*command, "--measure", folder], check=True)


def write_nights(folder: Path, n_nights: int) -> None:
    """One night under many names, and ``datasets/shhs-harmonized-dataset-0.21.0.csv``."""
    from sleep2vec_sklearn import make_sleep_cohort
    from sleep2vec_sklearn.datasets import write_edf_cohort

    night = write_edf_cohort(make_sleep_cohort(1, hours=0.25, random_state=0), folder / "one")[0]
    labels = next(path for path in night.parent.iterdir() if path.stem.startswith(night.stem + "-"))
    (folder / "datasets").mkdir()
    with (folder / "datasets" / "shhs-harmonized-dataset-0.21.0.csv").open("w") as table:
        print("nsrrid,visitnumber,nsrr_age,nsrr_sex,nsrr_bmi,nsrr_race", file=table)
        for k in range(n_nights):
            person, visit = 200001 + k // 2, 1 + k % 2
            stem = folder / f"shhs{visit}-{person}"
            os.link(night, stem.with_suffix(".edf"))
            os.link(labels, labels.parents[1] / labels.name.replace(night.stem, stem.name))
            print(f"{person},{visit},{40 + k % 50},male,27.5,white", file=table)
    for path in night.parent.iterdir():
        path.unlink()


def measure(folder: str, n_jobs: int) -> dict:
    """Seconds and MiB of reading the cohort, of its report, and of a part of it."""
    from sleep2vec_sklearn import read_cohort

    def peak() -> int:
        # that of getrusage includes the process which started this one
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) // 1024

    before, started = peak(), time.perf_counter()
    cohort = read_cohort(folder, n_jobs=n_jobs, verbose=0)
    took = {"nights": len(cohort), "read_cohort, s": time.perf_counter() - started}
    calls = {
        "report, s": cohort.report,
        "half of it by a mask, s": lambda: cohort[cohort.metadata["age"] > 64],
        "by_subject, s": cohort.by_subject,
    }
    for name, call in calls.items():
        started = time.perf_counter()
        call()
        took[name] = time.perf_counter() - started
    return {k: round(v, 2) for k, v in took.items()} | {"MiB before": before, "peak MiB": peak()}


if __name__ == "__main__":
    main()
