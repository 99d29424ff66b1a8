# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.evaluation import review_curve, review_order

RNG = np.random.default_rng(0)
P = RNG.dirichlet([0.6] * 4, 900)
Y = np.array([RNG.choice(4, p=row) for row in P])
GROUPS = np.repeat(np.arange(9), 100)


def test_least_certain_rows_come_first():
    p = [[0.9, 0.1], [0.5, 0.5], [np.nan, np.nan], [0.3, 0.7]]
    assert review_order(p).tolist() == [1, 3, 0]
    sets = np.array([[1, 0], [1, 1], [0, 0]], dtype=bool)
    assert review_order(sets).tolist() == [2, 1, 0]


def test_each_night_has_its_share():
    easy = GROUPS == 0
    p = np.where(easy[:, None], np.eye(4)[P.argmax(axis=1)], P)
    assert not easy[review_order(p)[:450]].any()
    shares = np.bincount(GROUPS[review_order(p, GROUPS)[:450]])
    assert shares.tolist() == [50] * 9
    first = review_order(p, GROUPS)[:90]
    assert P[first].max(axis=1).mean() < P.max(axis=1).mean()


def test_ends_are_unreviewed_and_corrected():
    curve = review_curve(Y, P, GROUPS, n_resamples=20)
    assert curve.at("kappa", 0)["value"] == pytest.approx(cohen_kappa_score(Y, P.argmax(axis=1)))
    assert curve.at("kappa", 1)[["value", "low", "random"]].tolist() == [1, 1, 1]
    assert curve.at("accuracy", 0.5)["gain_low"] > 0
    assert curve.share_for("accuracy", 0.95) in curve.table["share"].to_numpy()
    assert np.isnan(review_curve(Y, P, shares=[0], n_resamples=5).share_for("kappa", 0.99))


def test_curves_equal_review_by_hand():
    reviewed = P.argmax(axis=1)
    first = review_order(P, GROUPS)[:180]
    reviewed[first] = Y[first]
    curve = review_curve(Y, P, GROUPS, shares=[0.2], n_resamples=20)
    assert curve.at("kappa", 0.2)["value"] == pytest.approx(cohen_kappa_score(Y, reviewed))
    assert curve.table["epochs"].tolist() == [180] * 3
    plain = np.mean(P.argmax(axis=1) == Y)
    assert curve.at("accuracy", 0.2)["random"] == pytest.approx(plain + 0.2 * (1 - plain))


def test_useless_probabilities_gain_nothing():
    p = RNG.dirichlet([0.6] * 4, 900)
    curve = review_curve(Y, p, GROUPS, n_resamples=200)
    assert (curve.table["gain_low"] <= 1e-9).sum() > 0.8 * len(curve.table)
    assert np.abs(curve.table["gain"]).max() < 0.05


def test_random_reviews_as_many():
    # a tenth of four epochs is one of four
    y, p = np.tile([0, 1, 0, 1], 50), np.full((200, 2), 0.5)
    row = review_curve(y, p, np.repeat(np.arange(50), 4), shares=[0.1], n_resamples=10).table.loc[0]
    assert row["epochs"] == 50
    assert row["random"] == pytest.approx(0.75 * 0.5 + 0.25)


def test_rows_without_labels_are_ignored():
    y = np.where(np.arange(900) % 3 == 0, -1, Y)
    curve = review_curve(y, P, GROUPS, n_resamples=5)
    kept = review_curve(Y[y >= 0], P[y >= 0], GROUPS[y >= 0], n_resamples=5)
    np.testing.assert_allclose(curve.table["value"], kept.table["value"])
    names = np.array(["a", "b", "c", "d"])
    named = review_curve(names[Y], P, GROUPS, classes=names, n_resamples=5)
    assert named.at("accuracy", 0)["value"] == np.mean(P.argmax(axis=1) == Y)
    assert "900 epochs of 9 subjects" in repr(named)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": P * 2}, "add up to"),
        ({"probabilities": P[:, 0]}, "a column per class"),
        ({"probabilities": P[:, :3] / P[:, :3].sum(axis=1, keepdims=True)}, "holds .*3"),
        ({"y_true": Y[:5]}, "one of each for each epoch"),
        ({"y_true": np.full(900, -1)}, "none of the 900 epochs"),
    ],
)
def test_bad_predictions_are_refused(change, message):
    with pytest.raises(InvalidRecordingError, match=message):
        review_curve(**{"y_true": Y, "probabilities": P, **change})


def test_unknown_shares_are_refused():
    with pytest.raises(ValueError, match="ascending numbers from 0 to 1"):
        review_curve(Y, P, shares=[0.5, 0.1])
    curve = review_curve(Y, P, shares=[0, 0.5], n_resamples=5)
    with pytest.raises(ValueError, match=r"the curve has 0, 0\.5"):
        curve.at("kappa", 0.3)
    with pytest.raises(ValueError, match="accepted are 'accuracy'"):
        curve.at("f1", 0.5)
    with pytest.raises(InvalidRecordingError, match="groups has 2 elements"):
        review_order(P, [1, 2])
