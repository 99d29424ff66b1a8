# SPDX-License-Identifier: BSD-3-Clause
"""Put what benchmarks print into docs/benchmarks_details.md, below their headings.

``python -m benchmarks.speed.publish speed.night "speed.cohort:--nights 20 200"`` runs
``benchmarks.speed.night`` and ``benchmarks.speed.cohort``, the latter with arguments, and replaces
the block that follows ``<!-- benchmarks.speed.night -->`` by the command and its output.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shlex
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "benchmarks_details.md"
_BLOCK = "<!-- benchmarks.{} -->\n```console\n"


def published(page: str, name: str, command: str, output: str) -> str:
    """The page with the block of one benchmark replaced."""
    start = _BLOCK.format(name)
    pattern = re.compile(re.escape(start) + r".*?```\n", re.DOTALL)
    block = f"{start}$ {command}\n{output.rstrip()}\n```\n"
    page, n_replaced = pattern.subn(lambda _: block, page)
    if n_replaced != 1:
        raise ValueError(f"{PAGE.name} has {n_replaced} blocks of {name!r}; it needs one.")
    return page


def machine() -> str:
    """Processor and software, as measured on."""
    import torch

    processor = platform.processor() or platform.machine()
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            processor = line.split(":", 1)[1].strip()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{processor}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {versions}"


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def main() -> None:
    """Run the benchmarks named and write the page after each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", help="modules of benchmarks/, with NAME:ARGUMENTS")
    for given in parser.parse_args().names:
        name, _, arguments = given.partition(":")
        command = [sys.executable, "-m", f"benchmarks.{name}", *shlex.split(arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        shown = shlex.join(["python", *command[1:]])
        page = published(PAGE.read_text(), name, shown, f"{machine()}\n{done.stdout}")
        PAGE.write_text(page)
        print(done.stdout)


if __name__ == "__main__":
    main()
