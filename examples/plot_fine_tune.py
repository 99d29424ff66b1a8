# SPDX-License-Identifier: BSD-3-Clause
"""
Compare a linear probe with fine-tuning
=======================================

:class:`~sleep2vec_sklearn.Sleep2VecClassifier` trains a head that sees the minutes around an epoch,
and learns how to weight the sensors. It is compared with a linear probe on the same held-out
subjects. The cohort is simulated.
"""

# %%
# Two models on the same tokens
# -----------------------------
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn import (
    EpochSequence,
    Sleep2VecClassifier,
    Sleep2VecTransformer,
    make_sleep_cohort,
)

names = ["eeg", "ibi", "effort"]
cohort = make_sleep_cohort(
    12, hours=2, site_kinds=["laboratory"], modalities=names, missing=0.1, random_state=12
)
X = EpochSequence(cohort)
X = X[X.stages >= 0]
models = {
    "linear probe": make_pipeline(
        Sleep2VecTransformer(), StandardScaler(), LogisticRegression(C=0.02, max_iter=300)
    ),
    "temporal head": Sleep2VecClassifier(
        aggregation="gated", max_epochs=25, lr=3e-3, random_state=0
    ),
}

# %%
# Paired comparison by subject
# ----------------------------
# Confidence intervals are by bootstrap over subjects, with the same resamples for the difference.
# With so few subjects a linear probe is hard to beat: try it first.
from sleep2vec_sklearn.evaluation import compare_estimators

comparison = compare_estimators(
    models, X, X.stages, cv=3, scoring=["accuracy", "f1_macro"], n_resamples=300
)
print(comparison.scores.round(3))
comparison.differences.round(3)

# %%
# Hypnodensity of one subject
# ---------------------------
# The predicted probability of each stage, epoch by epoch.
import matplotlib.pyplot as plt

from sleep2vec_sklearn.plotting import HypnodensityDisplay

held_out = X.groups == cohort[0].subject
stager = models["temporal head"].fit(X[~held_out], X.stages[~held_out])
night = X[held_out]
_, ax = plt.subplots(figsize=(7, 4), layout="constrained")
display = HypnodensityDisplay(stager.predict_proba(night), y_true=night.stages).plot(ax)
_ = display.ax_.set_title("A simulated night of a held-out subject")
