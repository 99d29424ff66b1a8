# SPDX-License-Identifier: BSD-3-Clause
"""
Pretrain an encoder
===================

Pretraining needs no labels: the embeddings of an epoch from two sensors should match. A tiny
encoder learns this here from 16 simulated nights in some seconds; a useful one needs hundreds of
nights, and more layers.
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
# A quarter of the subjects are held out for validation after every epoch of training. With
# ``random_state`` a run is reproducible, and with ``state_dir="run/"`` a killed run resumes.
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
# Learning curves
# ---------------
# The loss of held-out subjects should decrease, and their recall@1 exceed the chance level. (The
# two losses are not comparable: in validation nothing is masked, and there are fewer negatives.)
import matplotlib.pyplot as plt

history = pretrainer.history_
epochs = range(1, len(history) + 1)
_, (left, right) = plt.subplots(1, 2, figsize=(7, 4), layout="constrained")
left.plot(epochs, history[:, "train_loss"], color="#999999", label="training")
left.plot(epochs, history[:, "valid_loss"], color="#0072b2", label="held-out subjects")
left.set(xlabel="epoch of training", ylabel="loss")
left.legend(frameon=False)
right.plot(epochs, history[:, "valid_recall"], color="#0072b2", label="held-out subjects")
right.plot(epochs, history[:, "valid_chance"], color="#999999", linestyle=":", label="chance")
right.set(xlabel="epoch of training", ylabel="recall@1", ylim=(0, None))
right.legend(frameon=False)
_ = left.figure.suptitle("Pretraining on simulated nights")

# %%
# Use the encoder
# ---------------
# ``Sleep2VecTransformer`` takes a checkpoint, or the path of a file written by
# ``pretrainer.save("mine.safetensors")``.
from sleep2vec_sklearn import Sleep2VecTransformer

rows = Sleep2VecTransformer(pretrainer.checkpoint()).fit_transform(cohort)
print(rows.shape)
