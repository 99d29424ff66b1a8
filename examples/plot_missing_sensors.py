# SPDX-License-Identifier: BSD-3-Clause
"""
Predict with missing sensors
============================

Any subset of the sensors can be embedded, and no night has to be excluded. This example measures
the loss of accuracy for every subset of four sensors of simulated nights.
"""

# %%
# A stager for four sensors
# -------------------------
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort

names = ["eeg", "eog", "ibi", "effort"]
cohort = make_sleep_cohort(
    8, hours=1.5, site_kinds=["laboratory"], modalities=names, missing=0, random_state=9
)
X = EpochSequence(cohort)[::2]
X = X[X.stages >= 0]
model = make_pipeline(
    Sleep2VecTransformer(), StandardScaler(), LogisticRegression(C=0.02, max_iter=300)
)

# %%
# Every subset, at test time
# --------------------------
# The head is trained on all sensors of six subjects and tested on two others with some of them.
# ``refit=True`` would also train on the subset. Each sensor of a night is encoded once for all
# subsets.
from sleep2vec_sklearn import modality_subset_scores

subsets = modality_subset_scores(model, X, X.stages, cv=4, scoring="kappa", n_resamples=300)
subsets.summary[["subset", "score", "low", "high"]].round(2)

# %%
# Plot all subsets
# ----------------
from sleep2vec_sklearn.plotting import ModalitySubsetsDisplay

display = ModalitySubsetsDisplay.from_results(subsets)
_ = display.ax_.set_title("Five stages, by sensors available at test time (simulated)")

# %%
# Sensors that fail during the night
# ----------------------------------
# Sensors are seldom missing for the whole night; they fall off. Here each is missing for one
# contiguous block of increasing length.
from sleep2vec_sklearn.plotting import ModalityDropoutDisplay
from sleep2vec_sklearn.probing import modality_dropout_curve

lost = modality_dropout_curve(
    model,
    X,
    X.stages,
    cv=4,
    patterns=["night", "block"],
    fractions=[0, 0.25, 0.5, 0.75],
    n_repeats=1,
    scoring="kappa",
    n_resamples=300,
)
display = ModalityDropoutDisplay.from_results(lost)
_ = display.ax_.set_title("Sensors lost for a block, or for the night (simulated)")
