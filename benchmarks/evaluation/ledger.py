# SPDX-License-Identifier: BSD-3-Clause
"""The list of every evaluation on labelled real nights, which scripts write themselves."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from datetime import date
from pathlib import Path

LEDGER = Path(__file__).with_name("LOOKS.md")


def add_to_ledger(data: str, variant: str, scores: Mapping[str, float]) -> None:
    """Append a line to LOOKS.md."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    values = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
    with LEDGER.open("a", encoding="utf-8") as ledger:
        ledger.write(f"| {date.today()} | {commit} | {data} | {variant} | {values} |\n")
