# SPDX-License-Identifier: BSD-3-Clause
"""Simulated nights beside real ones: figures, and the gaps between them by size.

``python -m benchmarks.evaluation.simulation_realism --data DIR --out DIR [--before measures.csv]``

Everything is described on the sets that encoders are evaluated on, and nothing is fitted to them:
docs/simulator.md says where the simulator's values come from. ``--before`` takes the measures.csv
of an earlier revision, whose distances then stand beside the present ones.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .realism_measures import (
    EEG_SECONDS,
    SCALES,
    STAGES,
    NightView,
    bouts,
    effect_sizes,
    heart_changes,
    heart_spectrum,
    measure,
    real_nights,
    simulated_nights,
    transitions,
)
from .scores import as_markdown

PARTNERS = {
    "ucddb": "simulated", "slpdb": "simulated", "sleep-accel": "simulated watch",
    "mmash": "simulated young", "sleep-edfx": "simulated", "dreams": "simulated",
}  # fmt: skip


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


# Okabe and Ito's colours, with a marker each.
STYLE = {
    "before": ("#999999", "x"),
    "watch before": ("#999999", "+"),
    "simulated": ("#000000", "o"),
    "simulated watch": ("#000000", "*"),
    "simulated young": ("#7F3C8D", "o"),
    "ucddb": ("#E69F00", "s"),
    "slpdb": ("#56B4E9", "^"),
    "sleep-accel": ("#009E73", "D"),
    "mmash": ("#CC79A7", "v"),
    "sleep-edfx": ("#0072B2", "P"),
    "dreams": ("#D55E00", "X"),
}
Views = dict[str, list[NightView]]


def draw_figures(nights: Views, measures: pd.DataFrame, folder: Path) -> list[Path]:
    """Draw and save three PNGs; returns their paths."""
    import matplotlib.pyplot as plt
    from PIL import Image

    plots = {"stages": _stages, "heart_and_movement": _heart_and_movement, "spectra": _spectra}
    paths = []
    for name, draw in plots.items():
        rows, columns = (1, 5) if name == "spectra" else (2, 3)
        size = (13, 3.4) if name == "spectra" else (12, 7)
        with plt.rc_context({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
            figure, axes = plt.subplots(rows, columns, figsize=size, layout="constrained")
            draw(axes.ravel(), nights, measures)
            paths.append(folder / f"simulator_{name}.png")
            figure.savefig(paths[-1], dpi=80)
            plt.close(figure)
            # A palette makes the file a quarter of the size.
            with Image.open(paths[-1]) as image:
                small = image.convert("RGB").quantize(64, dither=Image.Dither.NONE)
            small.save(paths[-1], optimize=True)
    return paths


def _line(axis, x, y, name: str, **options) -> None:
    colour, marker = STYLE[name]
    width = 2.2 if name.startswith("simulated") else 1.3
    axis.plot(x, y, color=colour, marker=marker, markersize=4, lw=width, label=name, **options)


def _dots(axis, measures: pd.DataFrame, pattern: str, sets, title: str, *, log=False) -> None:
    """Mean over nights by stage, one marker for each set, side by side."""
    sets = [name for name in sets if name in measures.index.get_level_values(0)]
    for place, name in enumerate(sets):
        x, y = [], []
        for code, stage in enumerate(STAGES):
            column = pattern.format(stage)
            if column in measures and measures.loc[name, column].notna().any():
                x.append(code + (place - (len(sets) - 1) / 2) * 0.13)
                y.append(measures.loc[name, column].mean())
        colour, marker = STYLE[name]
        axis.plot(x, y, marker, color=colour, ms=7, label=name)
    axis.set(title=title, xticks=range(5), xticklabels=STAGES)
    if log:
        axis.set_yscale("log")
    axis.grid(axis="y", alpha=0.3)


def _stages(axes, nights: Views, measures) -> None:
    sets = ["before", "simulated", "ucddb", "slpdb", "sleep-accel"]
    _dots(axes[0], measures, "minutes of a bout, {}", sets, "mean bout (min)", log=True)
    _dots(axes[1], measures, "share of sleep, {}", sets, "share of sleep")
    axes[1].legend(fontsize=8)
    for name in sets[1:]:
        if name in nights:
            lengths = [
                minutes[which == 0] for which, minutes in (bouts(n.stages) for n in nights[name])
            ]
            lengths = np.concatenate(lengths)
            grid = np.array([0.5, 1, 2, 4, 8, 16, 32])
            _line(axes[2], grid, [max((lengths >= g).mean(), 1e-4) for g in grid], name)
    axes[2].plot([0.5, 32], [1, 64**-1.2], "k:", lw=1, label="power 1.2 (Lo et al. 2004)")
    axes[2].set(title="share of wake bouts at least as long", xscale="log", yscale="log")
    axes[2].set(xlabel="minutes", ylim=(3e-3, 1.3))
    axes[2].legend(fontsize=8)
    for axis, code in zip(axes[3:], (0, 3, 4), strict=True):
        for name in sets[1:]:
            if name in nights:
                shares = [_by_hour(n.stages == code, n.stages >= 0) for n in nights[name]]
                _line(axis, np.arange(7) + 0.5, np.nanmean(shares, axis=0), name)
        axis.set(title=f"share of {STAGES[code]} by hour", xlabel="hours from the start", ylim=0)


def _by_hour(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    hours = np.arange(len(values)) // 120
    return np.array(
        [
            values[mine].mean() if (mine := (hours == h) & known).sum() > 30 else np.nan
            for h in range(7)
        ]
    )


def _heart_and_movement(axes, nights: Views, measures) -> None:
    level = "{}: level above the night's median, {} (bpm)"
    spread = "{}: SD over 5.5 min, {} (bpm)"
    frame = _watch_as_own_rows(measures)
    pairs = (level, "heart rate above the night's median (bpm)"), (spread, "SD over 5.5 min (bpm)")
    for axis, (pattern, title) in zip(axes[:2], pairs, strict=True):
        sets = ["before", "simulated", "slpdb"]
        sets += ["watch before", "simulated watch", "sleep-accel"]
        _dots(axis, frame, pattern.replace("{}: ", "", 1), sets, title)
    axes[0].legend(fontsize=8)
    for name in ("simulated young", "mmash", "simulated", "slpdb"):
        if name in nights:
            curve = np.nanmean([heart_changes(n) for n in nights[name]], axis=0)
            _line(axes[2], np.array(SCALES) / 2, curve, name)
    axes[2].set(title="change between windows (bpm)", xscale="log", xlabel="minutes", ylim=0)
    axes[2].legend(fontsize=8)
    for name, dash in (("simulated", "-"), ("slpdb", "--")):
        for code, colour in ((2, "#0072B2"), (3, "#000000"), (4, "#D55E00")):
            found = [
                heart_spectrum(n.heart[n.stages == code])
                for n in nights.get(name, [])
                if (n.stages == code).sum() >= 5
            ]
            if found:
                power = np.exp(np.nanmean(np.log([p for _, p in found]), axis=0))
                label = f"{name}, {STAGES[code]}"
                axes[3].plot(found[0][0], power, dash, color=colour, label=label)
    axes[3].set(title="spectrum of heart rate (bpm²/Hz)", xlabel="Hz", xlim=(0.03, 0.5))
    axes[3].set(yscale="log", ylim=(0.3, None))
    axes[3].legend(fontsize=7)
    moving = "share of epochs with movement, {}"
    sets = ["watch before", "simulated watch", "sleep-accel"]
    _dots(axes[4], frame, moving, sets, "share of epochs with counts")
    for name in ("simulated watch", "sleep-accel", "simulated young", "mmash"):
        if name in nights:
            curves = []
            for night in nights[name]:
                if night.activity is not None and np.isfinite(night.activity).mean() > 0.5:
                    moves = night.activity > 1e-3 * np.nanmax(night.activity)
                    curves.append(_by_hour(moves, np.isfinite(night.activity)))
            _line(axes[5], np.arange(7) + 0.5, np.nanmean(curves, axis=0), name)
    axes[5].set(title="share of epochs with counts by hour", xlabel="hours from the start", ylim=0)
    axes[5].set_ylim(0, 0.55)
    axes[5].legend(fontsize=8, ncols=2, loc="upper left")


def _watch_as_own_rows(measures: pd.DataFrame) -> pd.DataFrame:
    """One column for beats and watch alike, as a set has only one of them."""
    frame = measures.copy()
    for column in measures.columns:
        kind, _, rest = column.partition(": ")
        if kind in ("beats", "watch"):
            seen = frame[rest] if rest in frame else pd.Series(np.nan, index=frame.index)
            frame[rest] = seen.fillna(frame[column])
    return frame


def _spectra(axes, nights: Views, measures) -> None:
    for code, axis in enumerate(axes):
        for name in ("simulated", "sleep-edfx", "ucddb", "dreams"):
            found = [n.spectra[code] for n in nights.get(name, []) if code in n.spectra]
            if found:
                power = np.exp(np.mean(np.log(found), axis=0))
                grid = 0.5 + np.arange(len(power)) / EEG_SECONDS
                colour, _ = STYLE[name]
                width = 2.2 if name == "simulated" else 1.3
                axis.plot(grid, power, color=colour, lw=width, label=f"{name} ({len(found)})")
        axis.set(title=STAGES[code], yscale="log", xlabel="Hz", ylim=(1e-4, 0.6))
        axis.legend(fontsize=7)
    axes[0].set_ylabel("share of power, 0.5-30 Hz")


if __name__ == "__main__":
    main()
