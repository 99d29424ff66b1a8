# SPDX-License-Identifier: BSD-3-Clause
"""Simulated nights beside real ones: figures, and the gaps between them by size.

``python -m benchmarks.simulation_realism --data DIR --out DIR [--before measures.csv]``

Everything is described on the sets that encoders are evaluated on, and nothing is fitted to them:
docs/simulator.md says where the simulator's values come from. ``--before`` takes the measures.csv
of an earlier revision, whose distances then stand beside the present ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from benchmarks.real_nights import as_markdown
from benchmarks.realism_figures import draw_figures
from benchmarks.realism_measures import effect_sizes, measure, transitions
from benchmarks.realism_nights import NightView, real_nights, simulated_nights

__all__ = ["main", "table_of_gaps", "table_of_measures", "table_of_transitions"]

PARTNERS = {
    "ucddb": "simulated",
    "slpdb": "simulated",
    "sleep-accel": "simulated watch",
    "mmash": "simulated young",
    "sleep-edfx": "simulated",
    "dreams": "simulated",
}
STAGES = ("W", "N1", "N2", "N3", "R")


def table_of_measures(nights: dict[str, list[NightView]]) -> pd.DataFrame:
    """One row per night, indexed by set and number; one column per measure."""
    rows = {
        (name, k): measure(n) for name, several in nights.items() for k, n in enumerate(several)
    }
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(rows, names=["set", "night"])
    return table


def table_of_gaps(measures: pd.DataFrame, before: pd.DataFrame | None = None) -> pd.DataFrame:
    """Distances of simulated from real nights, largest first, with the earlier ones beside."""
    gaps = effect_sizes(measures, PARTNERS).set_index("measure")
    if before is not None:
        earlier = effect_sizes(before, PARTNERS).set_index(["measure", "set"])["d"]
        keys = pd.MultiIndex.from_arrays([gaps.index, gaps["set"]])
        gaps["d_before"] = earlier.reindex(keys).to_numpy()
    return gaps


def table_of_transitions(nights: dict[str, list[NightView]]) -> pd.DataFrame:
    """Chance of each change of stage, one column per set."""
    names = [name for name in nights if any(n.stages is not None for n in nights[name])]
    found = {name: transitions(nights[name]) for name in names}
    rows = {
        f"{a} to {b}": {name: found[name][i, j] for name in names}
        for i, a in enumerate(STAGES)
        for j, b in enumerate(STAGES)
        if i != j
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("change")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all nights, write tables and figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the public sets")
    parser.add_argument("--out", type=Path, default=Path("demo_output/simulation_realism"))
    parser.add_argument("--subjects", type=int, default=24, help="simulated people of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--before", type=Path, help="measures.csv of an earlier revision")
    options = parser.parse_args(arguments)

    nights = {**simulated_nights(options.subjects, options.seed), **real_nights(options.data)}
    nights = {name: several for name, several in nights.items() if several}
    measures = table_of_measures(nights)
    before = None
    if options.before is not None:
        before = pd.read_csv(options.before, index_col=["set", "night"])
    options.out.mkdir(parents=True, exist_ok=True)
    measures.to_csv(options.out / "measures.csv", float_format="%.5g")
    tables = {
        "gaps": table_of_gaps(measures, before),
        "transitions": table_of_transitions(nights),
    }
    for name, table in tables.items():
        table.to_csv(options.out / f"{name}.csv", float_format="%.3f")
        (options.out / f"{name}.md").write_text(as_markdown(table) + "\n", encoding="utf-8")
    print(as_markdown(tables["gaps"].head(25)))
    draw_figures(nights, _with_earlier(measures, before), options.out)


def _with_earlier(measures: pd.DataFrame, before: pd.DataFrame | None) -> pd.DataFrame:
    """The earlier simulated nights as further sets, under names of their own."""
    if before is None:
        return measures
    earlier = before.rename({"simulated": "before", "simulated watch": "watch before"}, level=0)
    kept = earlier.index.get_level_values(0).isin(["before", "watch before"])
    return pd.concat([earlier[kept], measures])


if __name__ == "__main__":
    main()
