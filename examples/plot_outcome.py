# SPDX-License-Identifier: BSD-3-Clause
"""
Predict an outcome
==================

Sleep apnea from one row per night, and whether the embedding adds information to age, sex and BMI.
The cohort is simulated: 60 subjects, three hours of an oximeter each.
"""

# %%
# Nights and their outcome
# ------------------------
# The metadata of a cohort are a table with a row per night, and the outcome is one of its columns.
# For files, pass a table of outcomes: ``read_cohort(folder, metadata="outcomes.csv")``.
from sleep2vec_sklearn import make_sleep_cohort

cohort = make_sleep_cohort(
    60, hours=3, site_kinds=["laboratory"], modalities=["spo2"], missing=0, random_state=2
)
y = cohort.metadata["apnea"].to_numpy()
print(f"{y.sum()} of {len(y)} simulated subjects have an AHI of 15 or more")

# %%
# Compare with age, sex and BMI
# -----------------------------
# ``pooling="mean_std"`` uses the standard deviation over the epochs of a night in addition to their
# mean. The baseline uses age, sex and BMI; "both" combines the two predictions. All three are
# fitted on the same folds of subjects, and scored on the same resamples.
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn import Sleep2VecTransformer
from sleep2vec_sklearn.evaluation import compare_with_baseline

night = make_pipeline(
    Sleep2VecTransformer(pooling="mean_std"),
    StandardScaler(),
    LogisticRegression(C=0.1, max_iter=500),
)
folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
comparison = compare_with_baseline(night, cohort, y, cv=folds, scoring="roc_auc", random_state=0)
print(comparison.scores.round(2))
comparison.differences.round(2)

# %%
# ROC curves of held-out subjects
# -------------------------------
import matplotlib.pyplot as plt
from sklearn.metrics import RocCurveDisplay

names = {"baseline": "age, sex, BMI", "estimator": "the night", "both": "both"}
colors = ["#999999", "#0072b2", "#d55e00"]
_, ax = plt.subplots(figsize=(5, 5), layout="constrained")
for (key, name), color in zip(names.items(), colors, strict=True):
    p = comparison.predictions[key]["predict_proba"][:, 1]
    RocCurveDisplay.from_predictions(y, p, name=name, ax=ax, curve_kwargs={"color": color})
ax.plot([0, 1], [0, 1], color="#cccccc", linestyle=":")
_ = ax.set_title("Apnea in a simulated cohort, subjects held out")

# %%
# Calibration
# -----------
from sleep2vec_sklearn.plotting import ReliabilityDisplay

display = ReliabilityDisplay.from_predictions(y, p, n_bins=5, name="both")
_ = display.ax_.set_title("Simulated subjects, held out")
