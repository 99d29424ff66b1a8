# SPDX-License-Identifier: BSD-3-Clause
"""``python -m tests.fuzz --kind edf --n 5000 --seed 0``: damage files, read them, count the ends.

Without ``--kind`` all kinds are run, without ``--n`` as many inputs as a full run has. Outcomes are
kept in ``--out``; the same command goes on where it was stopped. ``--show INDEX`` writes one input
into the current folder, to be looked at.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.fuzz.runner import FAULTS, count, run, work
from tests.fuzz.targets import MODULES, load_target, make_input, run_input


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--kind", choices=MODULES, action="append", help="all by default")
    parser.add_argument("--n", type=int, help="inputs of each kind")
    parser.add_argument("--share", type=float, default=1.0, help="of the inputs of a full run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir(), "sleep2vec-fuzz"))
    parser.add_argument("--show", type=int, metavar="INDEX")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.work:
        kind, *numbers = options.work
        work(kind, *map(int, numbers), set(json.loads(sys.stdin.read() or "[]")))
        return 0
    if options.show is not None:
        return show(options.kind[0], options.seed, options.show)
    heads = ("kind", "n", "read", "refused", *FAULTS, "slowest s", "largest MB")
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|", flush=True)
    n_faults = 0
    for kind in options.kind or MODULES:
        n = options.n or max(1, round(options.share * load_target(kind).n_full))
        outcomes = run(kind, n, options.seed, options.out)
        counts, seconds, peak = count(outcomes)
        cells = (kind, n, *(counts[name] for name in heads[2:-2]), seconds, peak)
        print("| " + " | ".join(map(str, cells)) + " |", flush=True)
        for index, line in outcomes.items():
            if line["outcome"] in FAULTS:
                n_faults += 1
                print(f"{kind} {index}: {line['outcome']} {line['text']}", file=sys.stderr)
    return int(n_faults > 0)


def show(kind, seed, index):
    """Write one input into the current folder and say how it ends."""
    target = load_target(kind)
    with tempfile.TemporaryDirectory() as folder:
        corpus = target.make_corpus(Path(folder, "corpus"))
        path = make_input(target, corpus, seed, index, Path(f"{kind}-{seed}-{index}").absolute())
    print(path, run_input(target, path))
    return 0


if __name__ == "__main__":
    sys.exit(main())
