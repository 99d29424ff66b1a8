# SPDX-License-Identifier: BSD-3-Clause
"""Opening a large cohort: seconds and peak memory for its headers, labels, tables and report.

``python -m benchmarks.speed.opening [N_NIGHTS]``

One simulated night of 15 minutes with its labels is linked under the names of the SHHS, two visits
of each person, beside a table of covariates. They are opened in a process of their own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def write_nights(folder: Path, n_nights: int) -> None:
    """One night under many names, and ``datasets/shhs-harmonized-dataset-0.21.0.csv``."""
    from sleep2vec_sklearn import make_sleep_cohort
    from sleep2vec_sklearn.datasets import write_edf_cohort

    night = write_edf_cohort(make_sleep_cohort(1, hours=0.25, random_state=0), folder / "one")[0]
    labels = next(night.parent.glob(f"{night.stem}-*"))
    (folder / "datasets").mkdir()
    rows = ["nsrrid,visitnumber,nsrr_age,nsrr_sex,nsrr_bmi,nsrr_race"]
    for k in range(n_nights):
        person, visit = 200001 + k // 2, 1 + k % 2
        os.link(night, folder / f"shhs{visit}-{person}.edf")
        os.link(labels, folder / labels.name.replace(night.stem, f"shhs{visit}-{person}"))
        rows.append(f"{person},{visit},{40 + k % 50},male,27.5,white")
    (folder / "datasets" / "shhs-harmonized-dataset-0.21.0.csv").write_text("\n".join(rows))
    shutil.rmtree(night.parent)


def measure(folder: str) -> None:
    """Print seconds, also of the CPU, and the peak of memory after each step."""
    from sleep2vec_sklearn import read_cohort

    def step(name: str, call):
        started, cpu = time.perf_counter(), time.process_time()
        result = call()
        started, cpu = time.perf_counter() - started, time.process_time() - cpu
        peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
        print(f"{name}: {started:.2f} s, {cpu:.2f} s of CPU, {int(peak) // 1024} MiB")
        return result

    cohort = step("read_cohort", lambda: read_cohort(folder, verbose=0))
    step(f"report of {len(cohort)} nights", cohort.report)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(sys.argv[2])
    else:
        with tempfile.TemporaryDirectory() as folder:
            write_nights(Path(folder), int(sys.argv[1]) if len(sys.argv) == 2 else 5000)
            subprocess.run([sys.executable, "-m", __spec__.name, "--measure", folder], check=True)
