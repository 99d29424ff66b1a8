# SPDX-License-Identifier: BSD-3-Clause
"""
How many subjects need labels?
==============================

Scoring a night takes a technician an hour or two. A label-efficiency curve shows the gain from each
further scored subject, and from pretraining, by comparison with random weights. The cohort is
simulated.
"""

# %%
# Pretrained and random weights
# -----------------------------
from sleep2vec_sklearn import EpochSequence, load_checkpoint, make_sleep_cohort
from sleep2vec_sklearn.model import Checkpoint, Sleep2Vec

cohort = make_sleep_cohort(16, hours=2, modalities=["ibi"], missing=0, random_state=8)
X = EpochSequence(cohort)[::2]
X = X[X.stages >= 0]
asleep = X.stages > 0

pretrained = load_checkpoint("sleep2vec-mini")
weights = Sleep2Vec.from_seed(pretrained.config, 0).state_dict()
# the mean and spread of its input stay
weights |= {name: pretrained.state[name] for name in weights if ".feature_" in name}
untrained = Checkpoint(pretrained.config, weights, pretrained.card, "0" * 64, "random weights")

# %%
# Nested subsets of subjects
# --------------------------
# Four folds of subjects are held out in turn; of the others one is drawn, then a second is added,
# and so on, the same for every estimator. Subjects are drawn, not epochs: a tenth of all epochs
# would still cover every subject.
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sleep2vec_sklearn import Sleep2VecTransformer, TimeOfNight, label_efficiency_curve


def probe(features):
    return make_pipeline(features, StandardScaler(), LogisticRegression(C=0.01, max_iter=300))


curve = label_efficiency_curve(
    {
        "sleep2vec-mini": probe(Sleep2VecTransformer(pretrained)),
        "random weights": probe(Sleep2VecTransformer(untrained)),
        "time of night": probe(TimeOfNight()),
    },
    X,
    asleep,
    sizes=[1, 2, 4, 8, 12],
    n_repeats=3,
    cv=4,
    scoring="roc_auc",
    random_state=0,
)
curve.summary[["estimator", "n_subjects", "score", "low", "high"]].round(2)

# %%
# The curve
# ---------
# Bands are 95 % confidence intervals by bootstrap over the test subjects.
from sleep2vec_sklearn.plotting import LabelEfficiencyDisplay

display = LabelEfficiencyDisplay.from_results(curve)
_ = display.ax_.set_title("Wake against sleep from RR intervals (simulated)")

# %%
# Paired differences
# ------------------
# Both estimators are tested on the same subjects, so differences are paired.
curve.differences("random weights").round(2)
