# SPDX-License-Identifier: BSD-3-Clause
"""
A map of epochs
===============

What the frozen encoder puts close together, without having seen a label: epochs of simulated
nights, in two dimensions, coloured by the stage a scorer gave them.
"""

# %%
# Rows with a name
# ----------------
# ``embed`` gives a table: the rows, which epoch each one is, how much signal it rests on, and from
# which encoder. ``table.save("rows.parquet")`` keeps it, and
# :class:`~sleep2vec_sklearn.PrecomputedEmbeddings` reads it where there is no signal and no torch.
from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer, make_sleep_cohort

cohort = make_sleep_cohort(
    6, hours=3, modalities=["eeg", "eog", "emg", "ibi"], missing=0, random_state=6
)
X = EpochSequence(cohort)
X = X[X.stages >= 0]
table = Sleep2VecTransformer().fit(X).embed(X)
table.frame.iloc[:3, :4]

# %%
# Two dimensions
# --------------
# Nights are centred first: what differs between sleepers is not the question here.
import pandas as pd
from sklearn.decomposition import PCA

rows = pd.DataFrame(table.values)
centred = rows - rows.groupby(X.groups).transform("mean")
places = PCA(2, random_state=0).fit_transform(centred)

# %%
# Stages
# ------
import matplotlib.pyplot as plt

from sleep2vec_sklearn import SleepStage

colors = {"W": "#e69f00", "R": "#d55e00", "N1": "#999999", "N2": "#56b4e9", "N3": "#0072b2"}
_, ax = plt.subplots(figsize=(6, 5), layout="constrained")
for name, color in colors.items():
    kept = X.stages == SleepStage[name]
    ax.scatter(*places[kept].T, s=7, color=color, alpha=0.6, label=name, linewidths=0)
ax.set(xlabel="first component", ylabel="second component", title="Epochs of six simulated nights")
_ = ax.legend(markerscale=2.5, frameon=False)
