# SPDX-License-Identifier: BSD-3-Clause
import json

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from benchmarks import dash, dash_nights
from benchmarks.paired_runs import Runs, contrast_table, difference_table, paired_interval
from sleep2vec_sklearn import Sleep2VecPretrainer
from sleep2vec_sklearn.pretraining._sampling import PairSampler

DESIGN = {"steps": 2, "names": ["a"]}


def table(values):
    index = pd.MultiIndex.from_tuples(list(values), names=["setting", "seed"])
    return pd.DataFrame({"kappa": list(values.values())}, index=index).sort_index()


def test_equal_differences_leave_no_interval():
    assert paired_interval([0.2, 0.2, 0.2]) == pytest.approx((0.2, 0.2, 0.2))


def test_the_interval_is_that_of_the_mean_over_seeds():
    differences = np.random.default_rng(1).normal(0.3, 1.0, 200)
    mean, low, high = paired_interval(differences)
    margin = 1.96 * differences.std() / np.sqrt(200)
    assert mean == pytest.approx(differences.mean())
    assert (low, high) == pytest.approx((mean - margin, mean + margin), abs=0.02)


def test_a_lower_level_makes_a_shorter_interval():
    differences = np.random.default_rng(2).normal(size=30)
    (_, low, high), (_, lower, higher) = (paired_interval(differences, q) for q in (0.5, 0.95))
    assert lower < low < high < higher


@pytest.mark.parametrize("differences", [[0.1], [0.1, np.nan], [[0.1, 0.2]]])
def test_less_than_two_seeds_have_no_interval(differences):
    with pytest.raises(ValueError, match="needs two seeds"):
        paired_interval(differences)


def test_seeds_are_paired_before_they_are_compared():
    runs = table({("A", 0): 0.1, ("B", 0): 0.0, ("A", 1): 0.9, ("B", 1): 0.8, ("A", 2): 9.0})
    row = contrast_table(runs, ["A", "B"]).loc["kappa"]
    assert row["A"] == pytest.approx(0.5)
    assert row["B"] == pytest.approx(0.4)
    assert row["A - B"] == "+0.100 (+0.100 to +0.100)"
    assert row["A higher"] == "2 of 2 seeds"


def test_a_setting_is_shown_as_its_difference_from_the_base():
    runs = table({("A", 0): 0.1, ("B", 0): 0.0, ("A", 1): 0.9, ("B", 1): 0.8, ("C", 0): 0.0})
    shown = difference_table(runs, "A", ["B", "C"])
    assert shown.index.tolist() == ["B"]
    assert shown.loc["B", "kappa"] == "-0.100 (-0.100 to -0.100)"
    assert shown.loc["B", "seeds"] == 2


def test_runs_are_read_as_they_were_kept(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl", DESIGN)
    assert not runs.has("A", 0)
    runs.append("A", 0, {"kappa": 0.25})
    runs.append("A", 1, {"kappa": 0.5})
    assert runs.has("A", 1)
    assert runs.read().loc[("A", 1), "kappa"] == 0.5


def test_a_line_cut_off_by_a_kill_is_made_again(tmp_path):
    runs = Runs(tmp_path / "runs.jsonl", DESIGN)
    runs.append("A", 0, {"kappa": 0.25})
    with runs.path.open("a") as file:
        file.write('{"setting": "A", "se')
    runs.append("A", 1, {"kappa": 0.5})
    assert runs.read().index.tolist() == [("A", 0), ("A", 1)]


def test_runs_of_another_design_are_refused(tmp_path):
    path = tmp_path / "runs.jsonl"
    Runs(path, DESIGN).append("A", 0, {"kappa": 0.25})
    with pytest.raises(ValueError, match="another design"):
        Runs(path, DESIGN | {"steps": 3}).read()


def test_a_file_without_runs_is_no_table(tmp_path):
    with pytest.raises(ValueError, match="no run is finished"):
        Runs(tmp_path / "runs.jsonl", DESIGN).read()


def test_the_tables_show_what_is_finished():
    names = [*dash.CONTRASTS[0], "site off", "DASH, marked"]
    index = pd.MultiIndex.from_product([names, [0, 1]], names=["setting", "seed"])
    random = np.random.default_rng(0)
    runs = pd.DataFrame(
        random.random((len(index), len(dash.MEASURES))), index=index, columns=dash.MEASURES
    ).sort_index()
    text = dash.show(runs)
    assert text.startswith("2 simulated cohorts")
    assert "| measure | DASH | InfoNCE | random weights | DASH - InfoNCE | DASH higher |" in text
    assert "| site off | 2 |" in text
    assert "marked" not in text


def test_half_of_the_people_lose_each_fact_and_none_their_name():
    nights = pd.DataFrame(
        {
            "subject": np.repeat([f"s{k}" for k in range(10)], 2),
            "age": 50.0, "sex": "F", "site": "site-1",
        }
    )  # fmt: skip
    half = dash_nights.known_metadata(nights, 0.5, seed=0)
    assert half["subject"].notna().all()
    for name in ("age", "sex", "site"):
        assert half[name].notna().sum() == 10
        assert half.groupby("subject")[name].count().isin([0, 2]).all()
    assert (
        dash_nights.known_metadata(nights, 0.0, seed=0)[["age", "sex", "site"]]
        .isna()
        .all(axis=None)
    )
    pd.testing.assert_frame_equal(dash_nights.known_metadata(nights, 1.0, seed=0), nights)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The benchmark with a cohort and an encoder of the smallest size."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(dash_nights.COHORT, "n_subjects", 24)
        patch.setitem(dash_nights.COHORT, "hours", 0.5)
        patch.setattr(dash_nights, "UNSEEN_PER_SITE", 2)
        for name, value in {
            "encoder__hidden_size": 8,
            "encoder__n_layers": 1,
            "context_epochs": 20,
        }.items():
            patch.setitem(dash.ENCODER, name, value)
        for name, value in {"batch_size": 4, "steps_per_epoch": 2}.items():
            patch.setitem(dash.ENCODER, name, value)
        yield dash_nights.make_split(0, tmp_path_factory.mktemp("dash"))


def test_no_person_and_no_site_is_on_both_sides(small):
    parts = [small.train.table, small.held_out.table, *(s.table for s in small.unseen)]
    people = [set(part["subject"]) for part in parts]
    assert sum(map(len, people)) == len(set.union(*people))
    assert set(small.train.table["site"]) == set(small.held_out.table["site"])
    assert [set(part["site"]) for part in parts[2:]] == [{name} for name in dash_nights.UNSEEN]


def test_settings_share_first_weights_and_batches(small, monkeypatch):
    begun, drawn, ended = [], [], []
    draw, fit = PairSampler.draw, Sleep2VecPretrainer.fit
    weight = "input_projection.weight"

    def spy_on_batch(self, number, progress=0.0):
        batch = draw(self, number, progress)
        drawn[-1].append((batch.pair, batch.nights.tolist(), batch.starts.tolist()))
        return batch

    def spy_on_fit(self, X, metadata=None):
        drawn.append([])
        still = clone(self).set_params(
            optimizer__lr=1e-12, steps_per_epoch=1, optimizer__ema_decay=0.0
        )
        begun.append(fit(still, X, metadata=metadata).net_.averaged().state_dict()[weight])
        drawn[-1].clear()
        fit(self, X, metadata=metadata)
        ended.append(self.net_.averaged().state_dict()[weight])
        return self

    monkeypatch.setattr(PairSampler, "draw", spy_on_batch)
    monkeypatch.setattr(Sleep2VecPretrainer, "fit", spy_on_fit)
    for name in ("DASH", "InfoNCE", "age, sex, site missing"):
        dash.run(small, name, 3)
    assert len(drawn[0]) == 2
    assert drawn[0] == drawn[1] == drawn[2]
    assert (begun[0] == begun[1]).all()
    assert (ended[0] != ended[1]).any()
    assert (ended[0] != ended[2]).any()


def test_an_encoder_is_measured_by_numbers(small):
    measures = dash.run(small, "DASH, marked", 0)
    assert tuple(measures) == dash.MEASURES
    assert np.isfinite(list(measures.values())).all()
    json.dumps(measures)


def test_a_mark_is_one_for_each_site_and_differs_between_sites(small):
    marked = dash_nights.mark_sites(small, 0.5, seed=0)
    added = {}
    for before, after in ((small.train, marked.train), (small.held_out, marked.held_out)):
        before, after = before.take(slice(1, None)), after.take(slice(1, None))
        for night, site in enumerate(after.table["site"]):
            rows = after.window(night, "eeg", 3, 5) - before.window(night, "eeg", 3, 5)
            added.setdefault(site, []).append(rows)
    for rows in added.values():
        np.testing.assert_allclose(np.concatenate(rows), rows[0][[0]].repeat(5 * len(rows), 0),
                                   atol=1e-5)  # fmt: skip
    first, other = (rows[0][0] for rows in list(added.values())[:2])
    assert np.abs(first - other).max() > 0.1


def test_only_runs_that_are_missing_are_made(small, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(dash, "make_split", lambda seed, folder: small)

    def run(split, setting, seed):
        made.append((setting, seed))
        return dict.fromkeys(dash.MEASURES, 0.5)

    monkeypatch.setattr(dash, "run", run)
    runs = dash.open_runs(tmp_path)
    dash.make_runs(runs, tmp_path, [0, 1], ["DASH"])
    dash.make_runs(runs, tmp_path, [1, 0, 2], ["DASH", "InfoNCE"])
    assert made == [
        ("DASH", 0),
        ("DASH", 1),
        ("InfoNCE", 1),
        ("InfoNCE", 0),
        ("DASH", 2),
        ("InfoNCE", 2),
    ]
