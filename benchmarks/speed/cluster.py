# SPDX-License-Identifier: BSD-3-Clause
"""Hours, disk and traffic for a cohort on a cluster, from the seconds one night takes.

``python -m benchmarks.speed.cluster --seconds 0.8 [--nights 42000] [--workers 1 16 64 256]``

Take the seconds from "whole transform" of ``python -m benchmarks.speed.night``, run on a machine of
the cluster with ``OMP_NUM_THREADS`` as its workers have it. Sizes follow from the bundled encoder.
"""

from __future__ import annotations

import argparse

HOURS, EPOCHS, FLOAT = 8, 960, 4
# numbers of the bundled encoder: in a row of an epoch, of a night, and in an epoch's tokens of nine
# modalities and the time
EPOCH_WIDTH, NIGHT_WIDTH, TOKENS, MODALITIES = 423, 601, 1404, 9
MB_PER_FILE = 94


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, required=True, help="per night and worker")
    parser.add_argument("--nights", type=int, default=42_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--file-mb", type=float, default=MB_PER_FILE, help="size of one night")
    options = parser.parse_args()
    print("\n".join(durations(options.nights, options.seconds, options.workers, options.file_mb)))
    print()
    print("\n".join(sizes(options.nights, options.file_mb)))


def durations(nights: int, seconds: float, workers: list[int], file_mb: float) -> list[str]:
    """Markdown lines: how long it takes, and what the file system has to deliver meanwhile."""
    lines = ["| workers | hours | read from the file system |", "|---|---|---|"]
    for n in workers:
        hours = nights * seconds / n / 3600
        rate = n * file_mb / seconds
        lines.append(f"| {n} | {hours:.2g} | {rate:,.0f} MB/s |")
    return lines


def sizes(nights: int, file_mb: float) -> list[str]:
    """Markdown lines: bytes of what is read, kept and sent."""
    row = EPOCH_WIDTH * FLOAT
    tokens = EPOCHS * (TOKENS * FLOAT + MODALITIES + 1)
    kinds = [
        (f"EDF files, {HOURS} h", file_mb * 1e6),
        ("a row per night", NIGHT_WIDTH * FLOAT),
        (f"a row per epoch ({EPOCHS} x {EPOCH_WIDTH} x {FLOAT} bytes)", EPOCHS * row),
        (f"cache: tokens of {MODALITIES} modalities", tokens),
    ]
    lines = [f"| | one night | {nights:,} nights |", "|---|---|---|"]
    for name, size in kinds:
        lines.append(f"| {name} | {_bytes(size)} | {_bytes(size * nights)} |")
    return lines


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


if __name__ == "__main__":
    main()
