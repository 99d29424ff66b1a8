# SPDX-License-Identifier: BSD-3-Clause
"""
Detect apneas and hypopneas
===========================

A detector predicts the probability of an apnea or hypopnea for each second, events with onset and
duration, and their number per hour of sleep. It is trained on ``night.events``; the cohort is
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
# Train on 18 subjects
# --------------------
# A fifth of them are held out for early stopping, and to tune the threshold.
from sleep2vec_sklearn import Sleep2VecEventDetector

train, test = cohort[:18], cohort[18:]
detector = Sleep2VecEventDetector(head="temporal_conv", max_epochs=30, random_state=0)
detector.fit(train)
print(detector.thresholds_)

# %%
# Events of held-out subjects
# ---------------------------
detected = detector.predict_events(test)
detected.head()

# %%
# Part of one night, and the index of all
# ---------------------------------------
import matplotlib.pyplot as plt
import numpy as np

index = detector.predict(test)
scored = np.array([night.metadata["ahi"] for night in test])
night = test[int(np.argmax(scored))]
probability = detector.predict_proba([night])[0]
probability = np.asarray(probability).reshape(-1)

_, (left, right) = plt.subplots(
    1, 2, figsize=(8.5, 4.2), layout="constrained", width_ratios=[1.8, 1]
)
begin, end = 60, 100
minutes = np.arange(len(probability)) / 60
shown = (minutes >= begin) & (minutes < end)
left.plot(minutes[shown], probability[shown], color="#0072b2", linewidth=0.9)
left.axhline(detector.thresholds_["apnea_hypopnea"], color="#0072b2", linestyle=":")
respiratory = night.events[night.events["type"].str.contains("apnea|hypopnea")]
for rows, height, color, label in (
    (respiratory, 1.06, "#333333", "scored"),
    (detected[detected["recording"] == night.id], 1.13, "#0072b2", "detected"),
):
    spans = rows[["onset", "duration"]].to_numpy() / 60
    inside = spans[(spans[:, 0] >= begin) & (spans.sum(axis=1) < end)]
    left.broken_barh(inside, (height, 0.05), color=color, label=label)
left.set(xlabel="minutes", ylabel="probability", xlim=(begin, end), ylim=(0, 1.22))
left.legend(loc="upper left", bbox_to_anchor=(0, 1.14), ncols=2, frameon=False)
right.plot([0, scored.max()], [0, scored.max()], color="#cccccc")
right.plot(scored, index, "o", color="#0072b2")
right.set(xlabel="scored events per hour", ylabel="detected per hour", title="held-out subjects")
_ = left.figure.suptitle("Apneas and hypopneas of simulated nights")
