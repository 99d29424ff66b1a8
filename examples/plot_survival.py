# SPDX-License-Identifier: BSD-3-Clause
"""
Survival after a night of sleep
===============================

People are followed up after their night; some die, some are lost to sight. A Cox model on the
encoder's tokens orders them by risk. The cohort, its deaths included, is simulated.
"""

# %%
# Outcomes that may be censored
# -----------------------------
# ``survival_outcome`` makes y from two columns: whether the event was seen, and when follow-up
# ended. Times are in years here.
from sleep2vec_sklearn import make_sleep_cohort
from sleep2vec_sklearn.evaluation import survival_outcome

cohort = make_sleep_cohort(
    80, hours=1.5, site_kinds=["laboratory"], modalities=["spo2", "ibi"], missing=0, random_state=14
)
y = survival_outcome(cohort.metadata["event"], cohort.metadata["survival_time"])
print(f"{y['event'].sum()} of {len(y)} simulated people died within {y['time'].max():.0f} years")

# %%
# Risks of people who were not trained on
# ---------------------------------------
# In four folds of people. Age goes into the network beside the night.
import numpy as np
from sklearn.model_selection import GroupKFold

from sleep2vec_sklearn import Sleep2VecCoxRegressor
from sleep2vec_sklearn.evaluation import concordance_index

model = Sleep2VecCoxRegressor(covariates=("age", "sex"), max_epochs=60, random_state=0)
risk = np.empty(len(y))
for train, test in GroupKFold(4).split(cohort, y, cohort.groups):
    model.fit([cohort[i] for i in train], y[train])
    risk[test] = model.predict([cohort[i] for i in test])
print(f"concordance of held-out people: {concordance_index(y, risk):.2f}")

# %%
# Two groups by predicted risk
# ----------------------------
from sleep2vec_sklearn.plotting import KaplanMeierDisplay

display = KaplanMeierDisplay.from_predictions(y, risk, n_groups=2)
_ = display.ax_.set(
    title="Simulated people, by the risk their night predicts", xlabel="years after the night"
)

# %%
# One person's curve
# ------------------
model.predict_survival_function(cohort[:2], times=[1, 2, 5, 10]).round(3)
