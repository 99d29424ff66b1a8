# SPDX-License-Identifier: BSD-3-Clause
"""
Analyse survival
================

Subjects are followed up after their night; some die, some are lost to follow-up. A Cox model on the
encoder's tokens ranks them by risk. The cohort, including its deaths, is simulated.
"""

# %%
# Censored outcomes
# -----------------
# ``survival_outcome`` makes y from two columns: whether the event was observed, and the time of the
# event or of the end of follow-up, here in years.
from sleep2vec_sklearn import make_sleep_cohort
from sleep2vec_sklearn.evaluation import survival_outcome

cohort = make_sleep_cohort(
    80, hours=1.5, site_kinds=["laboratory"], modalities=["spo2", "ibi"], missing=0, random_state=14
)
y = survival_outcome(cohort.metadata["event"], cohort.metadata["survival_time"])
print(f"{y['event'].sum()} of {len(y)} simulated subjects died within {y['time'].max():.0f} years")

# %%
# Risks of held-out subjects
# --------------------------
# In four folds of subjects. Age and sex are inputs of the head in addition to the night.
import numpy as np
from sklearn.model_selection import GroupKFold

from sleep2vec_sklearn import Sleep2VecCoxRegressor
from sleep2vec_sklearn.evaluation import concordance_index

model = Sleep2VecCoxRegressor(covariates=("age", "sex"), max_epochs=60, random_state=0)
risk = np.empty(len(y))
for train, test in GroupKFold(4).split(cohort, y, cohort.groups):
    model.fit([cohort[i] for i in train], y[train])
    risk[test] = model.predict([cohort[i] for i in test])
print(f"concordance of held-out subjects: {concordance_index(y, risk):.2f}")

# %%
# Two groups by predicted risk
# ----------------------------
from sleep2vec_sklearn.plotting import KaplanMeierDisplay

display = KaplanMeierDisplay.from_predictions(y, risk, n_groups=2)
_ = display.ax_.set(title="Simulated subjects, by predicted risk", xlabel="years after the night")

# %%
# Predicted survival functions
# ----------------------------
model.predict_survival_function(cohort[:2], times=[1, 2, 5, 10]).round(3)
