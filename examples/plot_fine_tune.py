# SPDX-License-Identifier: BSD-3-Clause
"""
A linear probe, or a head that is trained?
==========================================

:class:`~sleep2vec_sklearn.Sleep2VecClassifier` is a classifier like any other; the network in it
looks at the minutes around an epoch, and weighs the sensors itself. Whether that is worth it is a
comparison on the same held-out people. The cohort is simulated.
"""

# %%
# Two models of the same tokens
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
# The same folds, the same people
# -------------------------------
# Intervals are by bootstrap over people, those of the difference over the same draws. With as few
# people as these a linear probe is hard to beat, which is why it comes first.
from sleep2vec_sklearn.evaluation import compare_estimators

found = compare_estimators(
    models, X, X.stages, cv=3, scoring=["accuracy", "f1_macro"], n_resamples=300
)
print(found.scores.round(3))
found.differences.round(3)

# %%
# One person's probabilities
# --------------------------
# The network gives a probability of each stage for each epoch: a hypnodensity.
from sleep2vec_sklearn.plotting import HypnodensityDisplay

held_out = X.groups == cohort[0].subject
stager = models["temporal head"].fit(X[~held_out], X.stages[~held_out])
night = X[held_out]
display = HypnodensityDisplay(stager.predict_proba(night), y_true=night.stages).plot()
_ = display.ax_.set_title("A simulated night; its subject was held out")
