# SPDX-License-Identifier: BSD-3-Clause
"""
Use arrays from a watch
=======================

No file format is needed: a recording can be a dict of arrays. Heart rate and activity counts are
used to distinguish wake, REM and other sleep. The arrays are taken from simulated nights.
"""

# %%
# Recordings from arrays
# ----------------------
# The heart rate of a watch, in beats per minute at 1 Hz, and its activity counts per second. A
# missing modality is left out, or None; gaps are NaN.
from sleep2vec_sklearn import Recording, make_sleep_cohort

simulated = make_sleep_cohort(
    10,
    hours=6,
    site_kinds=["wearable"],
    modalities=["ibi", "actigraphy"],
    missing=0,
    random_state=5,
)


def from_watch(night):
    bpm, counts = night.signal("ibi"), night.signal("actigraphy")
    return Recording(
        {"ibi": (bpm.values, bpm.rate), "actigraphy": (counts.values, counts.rate), "eeg": None},
        units={"ibi": "bpm"},
        subject=night.subject,
        stages=night.stages,
    )


nights = [from_watch(night) for night in simulated]
print(nights[0], nights[0].rates)

# %%
# Wake, REM and other sleep
# -------------------------
# Trained on nine simulated subjects, tested on a tenth.
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, SleepStage

X = EpochSequence(nights[1:])
X = X[X.stages >= 0]
names = {SleepStage.W: "wake", SleepStage.R: "REM"}
y = np.array([names.get(stage, "other sleep") for stage in X.stages])
model = make_pipeline(
    Sleep2VecTransformer(),
    StandardScaler(),
    LogisticRegression(C=0.05, max_iter=500),
)
model.fit(X, y)
p = model.predict_proba(EpochSequence(nights[:1]))

# %%
# Predictions for one night
# -------------------------
import matplotlib.pyplot as plt

night = nights[0]
hours = (np.arange(night.n_epochs) + 0.5) / 120
_, (top, middle, bottom) = plt.subplots(3, 1, figsize=(7.5, 5.2), sharex=True, layout="constrained")
bpm, rate = night["ibi"], night.rates["ibi"]
top.plot(np.arange(len(bpm)) / rate / 3600, bpm, color="#333333", linewidth=0.5)
top.set_ylabel("beats / min")
counts, rate = night["actigraphy"], night.rates["actigraphy"]
middle.plot(np.arange(len(counts)) / rate / 3600, counts, color="#333333", linewidth=0.5)
middle.set_ylabel("counts / s")
colors = {"wake": "#e69f00", "REM": "#d55e00", "other sleep": "#56b4e9"}
order = list(model.classes_)
bottom.stackplot(
    hours,
    *(p[:, order.index(name)] for name in colors),
    labels=list(colors),
    colors=list(colors.values()),
)
for kind, label in ((SleepStage.W, "scored wake"), (SleepStage.R, "scored REM")):
    scored = night.stages == kind
    height = 1.05 if kind == SleepStage.W else 1.12
    color = colors["wake" if kind == SleepStage.W else "REM"]
    bottom.plot(hours[scored], np.full(scored.sum(), height), "|", color=color, label=label)
bottom.set(ylabel="probability", xlabel="Hours since start of recording", xlim=(0, hours[-1]))
bottom.legend(ncols=5, loc="upper center", bbox_to_anchor=(0.5, -0.35), frameon=False)
_ = top.set_title("A simulated night of a held-out subject with a watch")
