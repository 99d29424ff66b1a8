# SPDX-License-Identifier: BSD-3-Clause
"""
Pretrain an encoder
===================

Nights without labels are enough: an epoch seen by one sensor should find itself among epochs seen
by another. A tiny encoder learns that here from 16 simulated nights in some seconds; a real one
takes hundreds of nights, and more layers.
"""

# %%
# Sixteen nights, three sensors
# -----------------------------
from sleep2vec_sklearn import make_sleep_cohort

names = ["airflow", "effort", "ibi"]
cohort = make_sleep_cohort(
    16, hours=1.5, site_kinds=["laboratory"], modalities=names, missing=0.1, random_state=3
)

# %%
# Fit
# ---
# A quarter of the subjects are held out, and looked at after every epoch. All that is random
# follows from ``random_state``. With ``state_dir="run/"`` a killed run goes on where it was.
from sleep2vec_sklearn import Sleep2VecPretrainer
from sleep2vec_sklearn.pretraining import EncoderSpec

pretrainer = Sleep2VecPretrainer(
    encoder=EncoderSpec(hidden_size=32, token_dim=32, n_layers=2),
    context_epochs=40,
    batch_size=8,
    steps_per_epoch=12,
    max_epochs=10,
    validation=0.25,
    precision="float32",
    random_state=0,
)
pretrainer.fit(cohort)
print("pairs:", *("-".join(pair) for pair in pretrainer.pairs_))

# %%
# Does it learn?
# --------------
# The loss of held-out subjects should fall, and the share of their epochs that find themselves at
# once rise above what guessing would give. (Nothing is hidden from the encoder there, and fewer
# nights are each other's negatives, so the two losses are not to be compared.)
import matplotlib.pyplot as plt

history = pretrainer.history_
epochs = range(1, len(history) + 1)
_, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
left.plot(epochs, history[:, "train_loss"], color="#999999", label="training")
left.plot(epochs, history[:, "valid_loss"], color="#0072b2", label="held-out subjects")
left.set(xlabel="epoch of training", ylabel="loss")
left.legend(frameon=False)
right.plot(epochs, history[:, "valid_recall"], color="#0072b2", label="held-out subjects")
right.plot(epochs, history[:, "valid_chance"], color="#999999", linestyle=":", label="guessing")
right.set(xlabel="epoch of training", ylabel="share that find themselves", ylim=(0, None))
right.legend(frameon=False)
_ = left.figure.suptitle("Pretraining on simulated nights")

# %%
# Use it
# ------
# ``pretrainer.save("mine.safetensors")`` writes a file that ``Sleep2VecTransformer`` takes by its
# path; the checkpoint itself does as well.
from sleep2vec_sklearn import Sleep2VecTransformer

rows = Sleep2VecTransformer(pretrainer.checkpoint()).fit_transform(cohort)
print(rows.shape)
