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
# Three models, the same folds
# ----------------------------
# ``pooling="mean_std"`` keeps how much the epochs of a night vary, and not their mean alone.
# :class:`~sleep2vec_sklearn.RecordingMetadata` makes columns of what is known of the sleeper.
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn import RecordingMetadata, Sleep2VecTransformer

known = make_pipeline(RecordingMetadata(fields=["age", "sex", "bmi"]), SimpleImputer())
night = Sleep2VecTransformer(pooling="mean_std")


def head():
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))


models = {
    "age, sex, BMI": make_pipeline(known, head()),
    "the night": make_pipeline(night, head()),
    "both": make_pipeline(make_union(known, night), head()),
}

# %%
# Held-out people
# ---------------
# Probabilities come from five folds of people; the curve is that of all of them together.
import matplotlib.pyplot as plt
from sklearn.metrics import RocCurveDisplay
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

folds = StratifiedGroupKFold(5, shuffle=True, random_state=0)
colors = ["#999999", "#0072b2", "#d55e00"]
_, ax = plt.subplots(figsize=(5, 5), layout="constrained")
for (name, model), color in zip(models.items(), colors, strict=True):
    p = cross_val_predict(model, cohort, y, groups=cohort.groups, cv=folds, method="predict_proba")[
        :, 1
    ]
    RocCurveDisplay.from_predictions(y, p, name=name, ax=ax, curve_kwargs={"color": color})
ax.plot([0, 1], [0, 1], color="#cccccc", linestyle=":")
_ = ax.set_title("Apnea in a simulated cohort, people held out")
