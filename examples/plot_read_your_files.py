# SPDX-License-Identifier: BSD-3-Clause
"""
Read a folder of EDF files
==========================

From the files of a sleep laboratory to recordings that an estimator takes, and an overview of the
sensors of each night. The EDF+ files are of simulated nights and written here, so that the example
runs anywhere; skip the first step and set ``folder`` to a folder of yours.
"""

# %%
# A folder to read
# ----------------
# Six simulated subjects at two sites. Labels, units, rates and hypnogram formats differ between the
# sites, as they do between real ones.
import tempfile

from sleep2vec_sklearn import make_sleep_cohort
from sleep2vec_sklearn.datasets import write_edf_cohort

folder = tempfile.mkdtemp()
simulated = make_sleep_cohort(6, hours=1, n_sites=2, missing=0.3, random_state=4)
paths = write_edf_cohort(simulated, folder)
print(*(path.name for path in paths))

# %%
# Channels of a file
# ------------------
# Only the header is read. Inter-beat intervals and respiration are derived where the file has a
# source signal. If a label is not recognised, or the wrong channel is chosen, pass
# ``channels={"eeg": "C4-M1"}``.
from sleep2vec_sklearn import describe_channels

describe_channels(paths[0])[["label", "modality", "rate", "unit", "used"]]

# %%
# The whole folder
# ----------------
# Hypnograms in the same folder are found and read, whatever their format. A file that cannot be
# read is left out with a warning, and listed in ``failures`` with the reason.
from sleep2vec_sklearn import read_cohort

cohort = read_cohort(folder, verbose=0)
print(cohort)
print(f"failures: {len(cohort.failures)}")
cohort.metadata[["subject", "age", "sex", "bmi"]]

# %%
# Available sensors
# -----------------
# ``coverage`` counts the seconds of usable signal, that is without gaps and flat signals. Any
# subset of the sensors can be embedded, so no night has to be excluded.
import matplotlib.pyplot as plt
import pandas as pd

minutes = pd.DataFrame([night.coverage() for night in cohort], index=[n.id for n in cohort]) / 60
minutes = minutes.fillna(0)

_, ax = plt.subplots(figsize=(6.5, 4), layout="constrained")
image = ax.imshow(minutes, vmin=0, vmax=60, cmap="viridis", aspect="auto")
ax.set_xticks(range(minutes.shape[1]), minutes.columns, rotation=30, ha="right")
ax.set_yticks(range(len(minutes)), minutes.index)
ax.set_title("Usable signal of six simulated nights")
_ = ax.figure.colorbar(image, label="minutes of 60")

# %%
# Rows
# ----
# The cohort is what every estimator of the library takes: one row per night here, one per 30-s
# epoch with :class:`~sleep2vec_sklearn.EpochSequence`.
from sleep2vec_sklearn import EpochSequence, Sleep2VecTransformer

print(Sleep2VecTransformer().fit_transform(cohort).shape, "nights")
print(Sleep2VecTransformer().fit_transform(EpochSequence(cohort)).shape, "epochs")
