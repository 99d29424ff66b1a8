# SPDX-License-Identifier: BSD-3-Clause
"""
Tune parameters with a grid search
==================================

``fit`` does not train the encoder, so its tokens are cached: all folds, candidates and subsets of
sensors share them, and each night is encoded once. The cohort is simulated.
"""

# %%
# Sensors and penalty
# -------------------
# Both are parameters of one pipeline.
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort

cohort = make_sleep_cohort(
    8, hours=1.5, modalities=["eeg", "ibi", "effort"], missing=0, random_state=7
)
X = EpochSequence(cohort)[::2]
X = X[X.stages >= 0]
pipeline = Pipeline(
    [
        ("embed", Sleep2VecTransformer()),
        ("scale", StandardScaler()),
        ("head", LogisticRegression(max_iter=300)),
    ]
)
sensors = [["eeg"], ["ibi"], ["effort"], ["ibi", "effort"], ["eeg", "ibi", "effort"]]
penalties = [0.001, 0.01, 0.1]
grid = {"embed__modalities": sensors, "head__C": penalties}

# %%
# 15 candidates, four folds, 8 nights
# -----------------------------------
from sklearn.metrics import cohen_kappa_score, make_scorer

from sleep2vec_sklearn import cache_info, clear_cache

clear_cache()
search = GridSearchCV(pipeline, grid, cv=GroupKFold(4), scoring=make_scorer(cohen_kappa_score))
search.fit(X, X.stages, groups=X.groups)
n_fits = len(search.cv_results_["params"]) * 4 + 1
print(f"{n_fits} fits; signals encoded: {cache_info().misses}")
print("best:", search.best_params_)

# %%
# All scores
# ----------
import matplotlib.pyplot as plt

scores = search.cv_results_["mean_test_score"].reshape(len(sensors), len(penalties))
_, ax = plt.subplots(figsize=(5.5, 4), layout="constrained")
image = ax.imshow(scores, cmap="viridis", aspect="auto")
ax.set_xticks(range(len(penalties)), [f"C = {c:g}" for c in penalties])
ax.set_yticks(range(len(sensors)), [" + ".join(names) for names in sensors])
for row, column in [(r, c) for r in range(len(sensors)) for c in range(len(penalties))]:
    dark = scores[row, column] < scores.mean()
    ax.text(
        column, row, f"{scores[row, column]:.2f}", ha="center", va="center",
        color="white" if dark else "black",
    )  # fmt: skip
ax.set_title("Kappa of five stages, simulated, subjects held out")
_ = ax.figure.colorbar(image)
