# SPDX-License-Identifier: BSD-3-Clause
"""
What sensors know of each other
===============================

The encoder was trained so that an epoch seen by one sensor finds itself seen by another. How often
it does, pair by pair, tells which sensors share information in its eyes. The nights are simulated,
with seeds that pretraining did not see.
"""

# %%
# Ask for every epoch
# -------------------
# Among epochs of all nights, and, harder, among epochs of the same night.
from sleep2vec_sklearn import cross_modal_retrieval, make_sleep_cohort

names = ["eeg", "eog", "ibi", "effort", "airflow", "actigraphy"]
nights = make_sleep_cohort(
    6, hours=1.5, site_kinds=["full_laboratory"], modalities=names, missing=0, random_state=10
)
found = cross_modal_retrieval("sleep2vec-mini", nights, n_candidates=100, n_resamples=300)
columns = ["scope", "query", "target", "recall_1", "recall_5", "chance_1", "median_rank"]
found.summary[columns].round(3).head(8)

# %%
# Pair by pair
# ------------
from sleep2vec_sklearn.plotting import RetrievalDisplay

display = RetrievalDisplay.from_results(found, measure="recall_5")
_ = display.ax_.set_title("Found among the first five of 100 (simulated nights)")
