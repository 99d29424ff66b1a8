# SPDX-License-Identifier: BSD-3-Clause
"""
Map the embeddings of epochs
============================

A two-dimensional projection of the frozen encoder's rows, which were learned without labels:
epochs of simulated nights, coloured by their scored stage.
"""

# %%
# A table of embeddings
# ---------------------
# ``embed`` returns a table: the rows, the epoch and the signal coverage of each, and the encoder.
# ``table.save("rows.parquet")`` writes it, and :class:`~sleep2vec_sklearn.PrecomputedEmbeddings`
# reads it on machines without signals or torch.
from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort

cohort = make_sleep_cohort(
    6, hours=3, modalities=["eeg", "eog", "emg", "ibi"], missing=0, random_state=6
)
X = EpochSequence(cohort)
X = X[X.stages >= 0]
table = Sleep2VecTransformer().fit(X).embed(X)
table.frame.iloc[:3, :4]

# %%
# Principal components
# --------------------
# Nights are centred first, to remove differences between subjects.
import pandas as pd
from sklearn.decomposition import PCA

rows = pd.DataFrame(table.values)
centred = rows - rows.groupby(X.groups).transform("mean")
components = PCA(2, random_state=0).fit_transform(centred)

# %%
# Epochs by stage
# ---------------
import matplotlib.pyplot as plt

from sleep2vec_sklearn import SleepStage

colors = {"W": "#e69f00", "R": "#d55e00", "N1": "#999999", "N2": "#56b4e9", "N3": "#0072b2"}
_, ax = plt.subplots(figsize=(6, 5), layout="constrained")
for name, color in colors.items():
    of_stage = X.stages == SleepStage[name]
    ax.scatter(*components[of_stage].T, s=7, color=color, alpha=0.6, label=name, linewidths=0)
ax.set(xlabel="first component", ylabel="second component", title="Epochs of six simulated nights")
_ = ax.legend(markerscale=2.5, frameon=False)
