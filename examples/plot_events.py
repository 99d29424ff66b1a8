# SPDX-License-Identifier: BSD-3-Clause
"""
Apneas, second by second
========================

A detector gives each second the probability of an apnea or hypopnea, events with onset and
duration, and their number per hour of sleep. It learns from ``night.events``; the cohort is
simulated.
"""

# %%
# Nights with scored events
# -------------------------
from sleep2vec_sklearn import make_sleep_cohort

cohort = make_sleep_cohort(
    24, hours=3, site_kinds=["laboratory"], modalities=["airflow", "spo2"], missing=0,
    random_state=11,
)  # fmt: skip
cohort[0].events.head()

# %%
# Learn from 18 people
# --------------------
# A fifth of them are held out to stop the training, and to choose the threshold.
from sleep2vec_sklearn import Sleep2VecEventDetector

people, others = cohort[:18], cohort[18:]
detector = Sleep2VecEventDetector(head="temporal_conv", max_epochs=30, random_state=0)
detector.fit(people)
print(detector.thresholds_)

# %%
# Events of people it never saw
# -----------------------------
found = detector.predict_events(others)
found.head()

# %%
# An hour of one night, and the index of all
# ------------------------------------------
import matplotlib.pyplot as plt
import numpy as np

index = detector.predict(others)
scored = np.array([night.metadata["ahi"] for night in others])
night = others[int(np.argmax(scored))]
probability = detector.predict_proba([night])[0]
probability = np.asarray(probability).reshape(-1)

_, (left, right) = plt.subplots(
    1, 2, figsize=(10, 3.6), layout="constrained", width_ratios=[2.2, 1]
)
begin, end = 60, 100
minutes = np.arange(len(probability)) / 60
shown = (minutes >= begin) & (minutes < end)
left.plot(minutes[shown], probability[shown], color="#0072b2", linewidth=0.9)
left.axhline(detector.thresholds_["apnea_hypopnea"], color="#0072b2", linestyle=":")
breathing = night.events[night.events["type"].str.contains("apnea|hypopnea")]
for rows, height, color, label in (
    (breathing, 1.06, "#333333", "scored"),
    (found[found["recording"] == night.id], 1.13, "#0072b2", "detected"),
):
    spans = rows[["onset", "duration"]].to_numpy() / 60
    inside = spans[(spans[:, 0] >= begin) & (spans.sum(axis=1) < end)]
    left.broken_barh(inside, (height, 0.05), color=color, label=label)
left.set(xlabel="minutes", ylabel="probability", xlim=(begin, end), ylim=(0, 1.22))
left.legend(loc="upper left", bbox_to_anchor=(0, 1.14), ncols=2, frameon=False)
right.plot([0, scored.max()], [0, scored.max()], color="#cccccc")
right.plot(scored, index, "o", color="#0072b2")
right.set(xlabel="scored events per hour", ylabel="detected per hour", title="six people held out")
_ = left.figure.suptitle("Apneas and hypopneas of simulated nights")
