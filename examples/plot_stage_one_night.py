# SPDX-License-Identifier: BSD-3-Clause
"""
Stage one night
===============

The bundled stager needs no training and accepts whatever sensors a night has. One simulated night
is staged, first with all of its sensors and then with the two of a watch.
"""

# %%
# Stage a recording
# -----------------
# For a file: ``stage_night("night.edf")``.
from sleep2vec_sklearn import make_sleep_cohort, stage_night

night = make_sleep_cohort(1, hours=7, site_kinds=["full_laboratory"], missing=0.5, random_state=15)[
    0
]
staged = stage_night(night)
print(staged)

# %%
# Overview
# --------
# Coverage of the sensors, scored and predicted stages, predicted probabilities, and embeddings.
from sleep2vec_sklearn.plotting import NightOverviewDisplay

display = NightOverviewDisplay.from_night(staged, y_true=night.stages)
_ = display.figure_.suptitle("A simulated night, staged", x=0.01, ha="left")

# %%
# Probabilities
# -------------
# The hypnodensity is the predicted probability of each stage, epoch by epoch.
import matplotlib.pyplot as plt

from sleep2vec_sklearn.plotting import HypnodensityDisplay

# sphinx_gallery_thumbnail_number = 2
_, ax = plt.subplots(figsize=(7, 4), layout="constrained")
display = HypnodensityDisplay.from_night(staged, y_true=night.stages, ax=ax)

# %%
# Sleep statistics
# ----------------
# From the scored stages, and from the stages predicted with all sensors and with those of a watch.
import pandas as pd

from sleep2vec_sklearn.evaluation import sleep_statistics

watch = stage_night(night, modalities=["ibi", "actigraphy"])
pd.DataFrame(
    {
        "scored": sleep_statistics(night),
        "all sensors": sleep_statistics(night, stages=staged.stages),
        "watch sensors": sleep_statistics(night, stages=watch.stages),
    }
).round(1)
