# SPDX-License-Identifier: BSD-3-Clause
"""
Stage a cohort, with subjects held out
======================================

A linear head on the frozen encoder assigns each 30-s epoch one of five stages. The cohort is
simulated: eight subjects, two hours each.
"""

# %%
# One element of X per epoch
# --------------------------
# :class:`~sleep2vec_sklearn.EpochSequence` is a sequence of the epochs of all nights, with their
# stages and subjects.
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
# With epochs of one night on both sides of a split, any score is too high, so the subject is the
# group. The nights are encoded once, whatever the number of folds.
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn import Sleep2VecTransformer

model = make_pipeline(
    Sleep2VecTransformer(),
    StandardScaler(),
    LogisticRegression(C=0.05, max_iter=500),
)
predicted = cross_val_predict(model, X, X.stages, groups=X.groups, cv=GroupKFold(4))

# %%
# Staging report
# --------------
# :func:`~sleep2vec_sklearn.staging_report` scores epochs and nights; confidence intervals are by
# bootstrap over subjects, of whom there are eight, however many epochs they have.
from sleep2vec_sklearn import staging_report

report = staging_report(X, predicted, n_resamples=300)
print(report)
report.by_class.round(2)

# %%
# Confusion matrix
# ----------------
from sleep2vec_sklearn.plotting import StageConfusionDisplay

display = StageConfusionDisplay.from_report(report)
_ = display.ax_.set_title("Simulated subjects, held out")

# %%
# Hypnogram of one night
# ----------------------
# Scored stages above, predicted stages of the held-out subject below, and a mark where they differ.
from sleep2vec_sklearn.plotting import HypnogramDisplay

first = X.groups == cohort[0].subject
display = HypnogramDisplay.from_predictions(X.stages[first], predicted[first])
_ = display.ax_.set_title("A simulated night of a held-out subject")

# %%
# Sleep statistics
# ----------------
# Agreement of the statistics of a sleep report between predicted and scored stages.
report.bland_altman.round(1)
