# SPDX-License-Identifier: BSD-3-Clause
"""Stages of a night in its report: hypnogram, hypnodensity, confidence, and who predicted them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..evaluation.staging import staging_report
from ..evaluation.tables import format_interval
from ..plotting.night import HypnodensityDisplay, HypnogramDisplay
from ..recordings.modality import EPOCH_SECONDS
from ..recordings.recording import Recording
from ..recordings.stages import SleepStage
from ._page import NO_VALUE, ReportPage, Section, align_night, label_clock, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..finetuning.staged_night import StagedNight

_HOURS_PER_EPOCH = EPOCH_SECONDS / 3600
_LOW_CONFIDENCE = 0.5
_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#777777"
# label, unit and digits of what sleep_statistics returns
STATISTICS = {
    "tib_min": ("Time in bed", "min", 1),
    "tst_min": ("Total sleep time", "min", 1),
    "sleep_efficiency_pct": ("Sleep efficiency", "%", 1),
    "sol_min": ("Sleep onset latency", "min", 1),
    "rem_latency_min": ("REM latency", "min", 1),
    "waso_min": ("Wake after sleep onset", "min", 1),
    "spt_min": ("Sleep period", "min", 1),
    "sleep_maintenance_pct": ("Sleep maintenance", "%", 1),
    "n1_min": ("N1", "min", 1),
    "n2_min": ("N2", "min", 1),
    "n3_min": ("N3", "min", 1),
    "r_min": ("R", "min", 1),
    "n1_pct": ("N1, share of sleep", "%", 1),
    "n2_pct": ("N2, share of sleep", "%", 1),
    "n3_pct": ("N3, share of sleep", "%", 1),
    "r_pct": ("R, share of sleep", "%", 1),
    "awakenings": ("Awakenings", "", 0),
    "awakenings_per_hour": ("Awakenings", "per hour of sleep", 1),
    "stage_shifts_per_hour": ("Stage shifts", "per hour of sleep", 1),
    "longest_sleep_bout_min": ("Longest sleep bout", "min", 1),
    "unscored_min": ("Without a stage", "min", 1),
}


def scored_stages(night: Recording) -> np.ndarray | None:
    stages = night.stages
    return None if stages is None or (stages < 0).all() else stages


def describe_stages(
    page: ReportPage, night: Recording, staged: StagedNight | None, window: Any
) -> None:
    scored, predicted = scored_stages(night), None if staged is None else staged.stages
    if scored is None and predicted is None:
        with page.section("Sleep stages") as section:
            section.text("The night has no scored stages, and none were predicted.")
        return
    with page.section("Sleep stages") as section:
        if scored is None:
            section.text("The night was not scored; all stages are predicted.")
        elif predicted is None:
            section.text("The stages are those that were scored.")
        else:
            section.text(_describe_agreement(scored, predicted))
        if staged is not None:
            _note_training_subject(section, night, staged.card)
        which = " and ".join(
            name for name, y in (("scored", scored), ("predicted", predicted)) if y is not None
        )
        section.picture(
            f"Hypnogram, {which}. {_describe_shares(scored, predicted)}",
            (9.5, 2.4 if which.count(" ") == 0 else 3.8),
            lambda figure: _draw_hypnogram(figure, scored, predicted, night, window),
            f"Hypnogram, {which}; thick lines are REM sleep"
            + (", marks below the scored stages are differences" if " and " in which else ""),
        )
        if staged is not None:
            _describe_confidence(section, staged, night)


def _note_training_subject(section: Section, night: Recording, card: Mapping[str, Any]) -> None:
    """Say so where the stager knows the subject, which no score may hide."""
    people = card.get("real_people")
    if not isinstance(people, Mapping) or night.subject is None:
        return
    known = [name for members in people.values() for name in members]
    same = [name for name in known if str(name).rpartition("/")[2] == str(night.subject)]
    if same:
        section.note(
            f"The stager was trained on a subject of this name, {same[0]}: if it is this one, the "
            "predicted stages are better than they would be for others."
        )


def _describe_agreement(scored: np.ndarray, predicted: np.ndarray) -> str:
    both = int(((scored >= 0) & (predicted >= 0)).sum())
    if not both:
        return "No epoch has both a scored and a predicted stage."
    report = staging_report(scored, predicted, n_resamples=1)
    kappa, accuracy = report.scores.loc[["kappa", "accuracy"], "value"]
    return (
        f"Scored and predicted stages agree in {100 * accuracy:.0f} % of {both} epochs; Cohen's "
        f"kappa is {number(kappa, 2)}."
    )


def _describe_shares(*sides: np.ndarray | None) -> str:
    """Minutes of each stage, for those who do not see the picture."""
    texts = []
    for name, stages in zip(("Scored", "Predicted"), sides, strict=True):
        if stages is not None:
            minutes = [f"{s.name} {(stages == s).sum() / 2:g}" for s in SleepStage if s >= 0]
            texts.append(f"{name} minutes: {', '.join(minutes)}.")
    return " ".join(texts)


def _draw_hypnogram(
    figure: Figure, scored: np.ndarray | None, predicted: np.ndarray | None, night: Recording,
    window: Any,
) -> None:  # fmt: skip
    ax = figure.subplots()
    align_night(figure)
    HypnogramDisplay(y_true=scored, y_pred=predicted).plot(ax)
    label_clock(ax, night.start, night.n_epochs * _HOURS_PER_EPOCH)
    for at in (night.lights if window is None or isinstance(window, str) else window) or ():
        if at is not None and 0 < at < night.duration:
            ax.axvline(at / 3600, color=_ORANGE, linewidth=0.9, linestyle="--")


def _describe_confidence(section: Section, staged: StagedNight, night: Recording) -> None:
    probability = staged.probabilities.max(axis=1).to_numpy(dtype=float)
    agreement = np.asarray(staged.agreement, dtype=float)
    known = np.isfinite(probability)
    if not known.any():
        section.note("No epoch has a usable signal, so no stage was predicted.")
        return
    low = known & (probability < _LOW_CONFIDENCE)
    section.picture(
        "Hypnodensity: the probabilities of the stages, stacked, and the probability of the "
        f"chosen stage below them; its median is {np.median(probability[known]):.2f}.",
        (9.5, 3.8),
        lambda figure: _draw_hypnodensity(figure, staged, probability, agreement, night),
        "Hypnodensity, and below it the probability of the chosen stage and the agreement of the "
        "voters, both as medians of five minutes",
    )
    rows = []
    for stage in (None, *(s for s in SleepStage if s >= 0)):
        chosen = known if stage is None else known & (staged.stages == stage)
        mean = probability[chosen].mean() if chosen.any() else None
        together = np.nanmean(agreement[chosen]) if chosen.any() else None
        n_low = int(low[chosen].sum())
        name = "All" if stage is None else stage.name
        rows.append([name, str(chosen.sum()), number(mean, 2), number(together, 2), str(n_low)])
    section.table(
        "Confidence of the predicted stages",
        ["Stage", "Epochs", "Mean probability", "Mean agreement", "Low confidence, epochs"], rows,
        note=f"Low confidence: the chosen stage has a probability below {_LOW_CONFIDENCE}. "
        f"Agreement: share of the voters ({', '.join(staged.voters) or 'one'}) who chose the "
        f"stage. Epochs without a signal: {int((~known).sum())}.",
    )  # fmt: skip
    section.text(f"Predicted from: {staged.rests_on}.")


def _draw_hypnodensity(
    figure: Figure, staged: StagedNight, probability: np.ndarray, agreement: np.ndarray,
    night: Recording,
) -> None:  # fmt: skip
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
    align_night(figure)
    HypnodensityDisplay(staged.probabilities).plot(top)
    top.set_xlabel("")
    hours = (np.arange(len(probability)) + 0.5) * _HOURS_PER_EPOCH
    lines = {"probability": (probability, _BLUE, "-"), "agreement": (agreement, _ORANGE, "--")}
    for name, (values, color, style) in lines.items():
        median = pd.Series(values).rolling(10, center=True, min_periods=1).median()
        bottom.plot(hours, median, color=color, linestyle=style, linewidth=1, label=name)
    bottom.axhline(_LOW_CONFIDENCE, color=_GREY, linewidth=0.7, linestyle=":")
    bottom.set(ylim=(0, 1.05), yticks=[0, 0.5, 1], ylabel="confidence")
    beside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
    bottom.legend(frameon=False, fontsize=8, handlelength=1.2, **beside)
    bottom.spines[["top", "right"]].set_visible(False)
    label_clock(bottom, night.start, night.n_epochs * _HOURS_PER_EPOCH)


def describe_card(section: Section, card: Mapping[str, Any]) -> None:
    """The stager's training data, and its scores on other subjects."""
    if "what" in card:
        section.text(f"The stager: {card['what']}.")
    people = card.get("real_people")
    if isinstance(people, Mapping):
        counts = ", ".join(f"{name} {len(members)}" for name, members in people.items())
        simulated = card.get("simulated_nights", 0)
        section.text(
            f"Trained on {simulated} simulated nights and on subjects of public data sets "
            f"({counts}), so it may do worse on other people and devices."
        )
    held_out = card.get("held_out")
    if isinstance(held_out, Sequence) and not isinstance(held_out, str):
        rows = [
            [row.get("nights"), row.get("sensors"), str(row.get("subjects", NO_VALUE)),
             _card_interval(row)]
            for row in held_out if isinstance(row, Mapping)
        ]  # fmt: skip
        section.table(
            "Scores of the stager on subjects it was not trained on",
            ["Nights", "Sensors", "Subjects", "Kappa, five stages (95 % CI)"], rows, 2,
            note=str(card.get("selection", "")),
        )  # fmt: skip
    shown = {"what", "real_people", "held_out", "selection", "simulated_nights"}
    rest = [[key, str(value)] for key, value in card.items() if key not in shown]
    if rest:
        section.table("More about the stager", ["", ""], rest, first_number=2)


def _card_interval(row: Mapping[str, Any]) -> str:
    value, low, high = (
        np.nan if row.get(k) is None else row[k] for k in ("kappa5", "low5", "high5")
    )
    return number(value, 2) if np.isnan([low, high]).any() else format_interval(value, low, high)
