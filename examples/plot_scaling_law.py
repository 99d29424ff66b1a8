# SPDX-License-Identifier: BSD-3-Clause
"""
Would more nights help?
=======================

Encoders are pretrained on ever more nights and measured on the same held-out people; a saturating
power law through the points says what more nights may bring, and how unsure that is. The sizes are
toys, the nights simulated: this shows the tool and not a result.
"""

# %%
# One axis at a time
# ------------------
# The same number of steps for all, so that only the nights differ.
from sleep2vec_sklearn import Sleep2VecPretrainer, make_sleep_cohort
from sleep2vec_sklearn.pretraining import EncoderSpec
from sleep2vec_sklearn.probing import run_scaling_sweep

names = ["airflow", "effort", "ibi"]
nights = make_sleep_cohort(
    40, hours=1, site_kinds=["laboratory"], modalities=names, missing=0, random_state=13
)
pretrainer = Sleep2VecPretrainer(
    encoder=EncoderSpec(hidden_size=24, token_dim=24, n_layers=1), context_epochs=30, batch_size=8,
    steps_per_epoch=60, max_epochs=1, precision="float32",
)  # fmt: skip
points = run_scaling_sweep(
    pretrainer, nights, {"n_nights": [2, 4, 8, 16, 32]}, held_out=8, n_repeats=2, random_state=0
)
points[["n_nights", "repeat", "loss", "recall"]].round(3)

# %%
# The law
# -------
from sleep2vec_sklearn import fit_scaling_law

law = fit_scaling_law(points, x="n_nights", n_resamples=200)
print(law.parameters.round(2))

# %%
# Beyond the points
# -----------------
# What was not measured is drawn as such.
from sleep2vec_sklearn.plotting import ScalingLawDisplay

display = ScalingLawDisplay.from_results(law)
_ = display.ax_.set_title("Loss of held-out people (simulated nights, toy encoders)", pad=50)
