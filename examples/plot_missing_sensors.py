# SPDX-License-Identifier: BSD-3-Clause
"""
When sensors are missing
========================

Any subset of the sensors can be embedded, and no night is thrown away. What a subset costs is a
question to the data: here to simulated nights with five sensors.
"""

# %%
# A stager for five sensors
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
# The head is trained on all sensors of six people and asked about two others who lack some. With
# ``refit=True`` it would be trained on the subset as well. Each sensor of a night is encoded once,
# whatever the number of subsets.
from sleep2vec_sklearn import modality_subset_scores

found = modality_subset_scores(model, X, X.stages, cv=4, scoring="kappa", n_resamples=300)
found.summary[["subset", "score", "low", "high"]].round(2)

# %%
# A picture of all subsets
# ------------------------
from sleep2vec_sklearn.plotting import ModalitySubsetsDisplay

display = ModalitySubsetsDisplay.from_results(found)
_ = display.ax_.set_title("Five stages, by sensors worn at test time (simulated)")

# %%
# A sensor that fails in the night
# --------------------------------
# Sensors are seldom missing as a whole; they fall off. Here each is off for one stretch of the
# night, longer and longer.
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
_ = display.ax_.set_title("Sensors lost for a stretch, or for the night (simulated)")
