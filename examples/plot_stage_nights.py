# SPDX-License-Identifier: BSD-3-Clause
"""
Stage nights, with subjects held out
====================================

A linear head on the frozen encoder gives each 30-s epoch one of five stages. The cohort is
simulated: eight people, two hours each.
"""

# %%
# One element of X per epoch
# --------------------------
# :class:`~sleep2vec_sklearn.EpochSequence` makes the epochs of all nights one long sequence, with
# their stages and subjects beside it.
from sleep2vec_sklearn import EpochSequence, make_sleep_cohort

cohort = make_sleep_cohort(
    8, hours=2, modalities=["eeg", "ibi", "actigraphy"], missing=0, random_state=1
)
X = EpochSequence(cohort)
X = X[X.stages >= 0]
print(len(X), "scored epochs of", len(cohort), "nights")

# %%
# Cross-validate by subject
# -------------------------
# Epochs of one night on both sides of a split would make any score look good, so the subject is the
# group. :class:`~sleep2vec_sklearn.TimeOfNight` tells the head how late it is. The nights are
# encoded once, whatever the number of folds.
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn import Sleep2VecTransformer, TimeOfNight

model = make_pipeline(
    make_union(Sleep2VecTransformer(), TimeOfNight()),
    StandardScaler(),
    LogisticRegression(C=0.05, max_iter=500),
)
predicted = cross_val_predict(model, X, X.stages, groups=X.groups, cv=GroupKFold(4))

# %%
# How good is it?
# ---------------
# :func:`~sleep2vec_sklearn.staging_report` scores epochs and nights; intervals are by bootstrap
# over people, of whom there are eight, however many epochs they have.
from sleep2vec_sklearn import staging_report

report = staging_report(X, predicted, n_resamples=300)
print(report)
report.by_class.round(2)

# %%
# Which stages are taken for which
# --------------------------------
from sleep2vec_sklearn.plotting import StageConfusionDisplay

display = StageConfusionDisplay.from_report(report)
_ = display.ax_.set_title("Simulated people, held out")

# %%
# One of the nights
# -----------------
# Above what a scorer would have written, below what the model says of a person it never saw; in
# between a mark where they differ.
from sleep2vec_sklearn.plotting import HypnogramDisplay

first = X.groups == cohort[0].subject
display = HypnogramDisplay.from_predictions(X.stages[first], predicted[first])
_ = display.ax_.set_title("A simulated night; its subject was held out")

# %%
# Minutes, not epochs
# -------------------
# What a sleep report would say of each night, against what it should.
report.bland_altman.round(1)
