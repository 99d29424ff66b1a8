# SPDX-License-Identifier: BSD-3-Clause
"""
Retrieve epochs across sensors
==============================

The encoder was trained to match the embeddings of an epoch from two sensors. How often the match
ranks first, pair by pair, shows which sensors share information. The nights are simulated, with
seeds that were not used in pretraining.
"""

# %%
# Retrieval of every epoch
# ------------------------
# Candidates are epochs of all nights or, which is harder, of the same night.
from sleep2vec_sklearn import cross_modal_retrieval, make_sleep_cohort

names = ["eeg", "eog", "ibi", "effort", "airflow", "actigraphy"]
nights = make_sleep_cohort(
    6, hours=1.5, site_kinds=["full_laboratory"], modalities=names, missing=0, random_state=10
)
retrieval = cross_modal_retrieval("sleep2vec-mini", nights, n_candidates=100, n_resamples=300)
columns = ["scope", "query", "target", "recall_1", "recall_5", "chance_1", "median_rank"]
retrieval.summary[columns].round(3).head(8)

# %%
# Recall of each pair
# -------------------
from sleep2vec_sklearn.plotting import RetrievalDisplay

display = RetrievalDisplay.from_results(retrieval, measure="recall_5")
_ = display.ax_.set_title("Recall@5 among 100 candidates (simulated nights)")
