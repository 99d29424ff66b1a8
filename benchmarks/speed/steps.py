# SPDX-License-Identifier: BSD-3-Clause
"""Steps of pretraining per second and their losses, of this state of the library and another's.

``python -m benchmarks.speed.steps --against ../base [--steps 300] [--runs 3] [--threads 2]
[--precision auto] [--batches 48 120] [--store FOLDER]``

``--against`` is a checkout of another commit, as ``git worktree add ../base COMMIT`` makes it. Both
train the default pretrainer, the size of ``sleep2vec-mini``, from the same seed on one store of
features of simulated nights; runs of both take turns, each in a process of its own. Losses are
means over tenths of the run.

What bounds the rate are the products of linear layers, whose number of operations is counted: the
last line is the time they take at the machine's own best rate, as a share of a step in float32.
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

import numpy as np

TENTHS = 10
_UNTIMED = 5


def main() -> None:
    """Prepare the nights, run in turns, print rates and losses."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, help="root of another checkout")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--nights", type=int, default=24)
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batches", type=int, nargs=2, default=[48, 120], help="windows, epochs")
    parser.add_argument(
        "--store", type=Path, help="of prepare_cohort, in place of simulated nights"
    )
    parser.add_argument("--measure", type=Path, help="train on this store, in this process, once")
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options.measure, options)))
        return
    here = Path(__file__).resolve().parents[2]
    trees = {"here": here} | ({"there": options.against.resolve()} if options.against else {})
    runs: dict[str, list[dict]] = {name: [] for name in trees}
    with tempfile.TemporaryDirectory() as folder:
        store = options.store or prepare(Path(folder) / "store", options)
        arguments = [*sys.argv[1:], "--measure", str(store)]
        for _ in range(options.runs):
            for name, tree in trees.items():
                # the file, not the module, so that another checkout needs no such benchmark
                command = [sys.executable, __file__, *arguments]
                environment = {**os.environ, "PYTHONPATH": str(tree)}
                done = subprocess.run(
                    command, env=environment, stdout=subprocess.PIPE, text=True, check=True
                )
                runs[name].append(json.loads(done.stdout.splitlines()[-1]))
    best = best_rate(options.threads)
    for name, of_tree in runs.items():
        for kind in ("steps per second", "per second of processor time"):
            values = [run[kind] for run in of_tree]
            print(
                f"{name:6s} {kind}: {np.median(values):.3f} ({min(values):.3f}-{max(values):.3f})"
            )
        print(f"{name:6s} losses: {' '.join(f'{x:.4f}' for x in of_tree[0]['losses'])}")
        gflop, rate = of_tree[0]["gflop"], np.median([run["steps per second"] for run in of_tree])
        print(
            f"{name:6s} products: {gflop:.1f} GFLOP a step, {gflop * rate / best:.0%} of it at "
            f"{best:.0f} GFLOP/s"
        )
    if options.against:
        for kind in ("steps per second", "per second of processor time"):
            pairs = zip(runs["here"], runs["there"], strict=True)
            ratios = [ours[kind] / theirs[kind] for ours, theirs in pairs]
            print(f"{kind}, here to there: {np.median(ratios):.2f}")
        ours, theirs = (runs[name][0]["first"] for name in ("here", "there"))
        print(
            f"largest difference of the first losses: {np.abs(np.subtract(ours, theirs)).max():.2g}"
        )


def best_rate(n_threads: int) -> float:
    """GFLOP per second of the machine's best product of large matrices, in float32."""
    import torch

    from .encoder import peak_flops

    torch.set_num_threads(n_threads)
    return peak_flops(torch.float32) / 1e9


def prepare(folder: Path, options) -> Path:
    """A store of features of laboratory nights."""
    from sleep2vec_sklearn import make_sleep_cohort
    from sleep2vec_sklearn.pretraining import prepare_cohort

    nights = make_sleep_cohort(
        options.nights, hours=options.hours, n_sites=1, site_kinds=["laboratory"], missing=0,
        random_state=0,
    )  # fmt: skip
    prepare_cohort(nights, folder)
    return folder


def measure(store: Path, options) -> dict:
    """One run of the default pretrainer."""
    import torch
    from sklearn.base import clone
    from skorch.callbacks import Callback
    from torch.utils.flop_counter import FlopCounterMode

    from sleep2vec_sklearn import Sleep2VecPretrainer

    torch.set_num_threads(options.threads)
    ended: list[tuple[float, float]] = []

    class Clock(Callback):
        def on_batch_end(self, net, **kwargs):
            ended.append((time.perf_counter(), time.process_time()))

    n_windows, context = options.batches
    pretrainer = Sleep2VecPretrainer(
        max_epochs=1, steps_per_epoch=options.steps, validation=None, random_state=0,
        precision=options.precision, batch_size=n_windows, context_epochs=context,
        callbacks=[Clock()],
    )  # fmt: skip
    with FlopCounterMode(display=False) as counter:
        clone(pretrainer).set_params(steps_per_epoch=1).fit(store)
    pretrainer.fit(store)
    losses = np.array(pretrainer.history_[0, "batches", :, "train_loss"])
    untimed = min(_UNTIMED, options.steps // 2)
    wall, spent = np.subtract(ended[-1], ended[untimed])
    n_timed = options.steps - 1 - untimed
    return {
        "steps per second": n_timed / wall,
        "per second of processor time": n_timed / spent,
        "losses": [float(part.mean()) for part in np.array_split(losses, TENTHS)],
        "first": losses[:3].tolist(),
        "gflop": counter.get_total_flops() / 1e9,
    }


if __name__ == "__main__":
    main()
