# SPDX-License-Identifier: BSD-3-Clause
"""
Stage one night, without training anything
==========================================

The library comes with a head for sleep stages that takes whatever sensors a night has. One
simulated night is staged, first with all of its sensors and then with the two of a watch.
"""

# %%
# A night
# -------
# Of a file of yours: ``stage_night("night.edf")``.
from sleep2vec_sklearn import make_sleep_cohort, stage_night

night = make_sleep_cohort(1, hours=7, site_kinds=["full_laboratory"], missing=0.5, random_state=15)[
    0
]
staged = stage_night(night)
print(staged)

# %%
# All of it at a glance
# ---------------------
# Which sensors there are and when, the stages a scorer would have given and those found, how sure
# the head is, and the rows it saw.
from sleep2vec_sklearn.plotting import NightOverviewDisplay

display = NightOverviewDisplay.from_night(staged, y_true=night.stages)
_ = display.figure_.suptitle("A simulated night, staged", x=0.01, ha="left")

# %%
# The numbers of a sleep report
# -----------------------------
# As scored, as found, and as found from a watch's sensors alone.
import pandas as pd

from sleep2vec_sklearn.evaluation import sleep_statistics

watch = stage_night(night, modalities=["ibi", "actigraphy"])
pd.DataFrame(
    {
        "scored": sleep_statistics(night),
        "all sensors": sleep_statistics(night, stages=staged.stages),
        "a watch": sleep_statistics(night, stages=watch.stages),
    }
).round(1)
