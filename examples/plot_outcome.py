# SPDX-License-Identifier: BSD-3-Clause
"""
An outcome of a night, beside what is known anyway
==================================================

Who has sleep apnea, from one row per night; and whether the embedding adds anything to age, sex and
body-mass index. The cohort is simulated: 60 people, three hours of an oximeter each.
"""

# %%
# Nights and their outcome
# ------------------------
# The metadata of a cohort are a table with a row per night. In yours, the outcome is one of its
# columns too, or a column of a CSV file: ``read_cohort(folder, metadata="outcomes.csv")``.
from sleep2vec_sklearn import make_sleep_cohort

cohort = make_sleep_cohort(
    60, hours=3, site_kinds=["laboratory"], modalities=["spo2"], missing=0, random_state=2
)
y = cohort.metadata["apnea"].to_numpy()
print(f"{y.sum()} of {len(y)} simulated people have an AHI of 15 or more")

# %%
# With and without the night
# --------------------------
# ``pooling="mean_std"`` keeps how much the epochs of a night vary, and not their mean alone. The
# baseline knows age, sex and body-mass index; "both" weighs the two answers. All three are fitted
# to the same folds of people, and scored on the same resamples of them.
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
found = compare_with_baseline(night, cohort, y, cv=folds, scoring="roc_auc", random_state=0)
print(found.scores.round(2))
found.differences.round(2)

# %%
# Held-out people
# ---------------
import matplotlib.pyplot as plt
from sklearn.metrics import RocCurveDisplay

names = {"baseline": "age, sex, BMI", "estimator": "the night", "both": "both"}
colors = ["#999999", "#0072b2", "#d55e00"]
_, ax = plt.subplots(figsize=(5, 5), layout="constrained")
for (key, name), color in zip(names.items(), colors, strict=True):
    p = found.answers[key]["predict_proba"][:, 1]
    RocCurveDisplay.from_predictions(y, p, name=name, ax=ax, curve_kwargs={"color": color})
ax.plot([0, 1], [0, 1], color="#cccccc", linestyle=":")
_ = ax.set_title("Apnea in a simulated cohort, people held out")

# %%
# Can the probabilities be believed?
# ----------------------------------
from sleep2vec_sklearn.plotting import ReliabilityDisplay

display = ReliabilityDisplay.from_predictions(y, p, n_bins=5, name="both")
_ = display.ax_.set_title("Simulated people, held out")
