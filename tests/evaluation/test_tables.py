# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import Recording, make_sleep_cohort
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.evaluation import format_interval, table_one, to_latex, to_markdown
from sleep2vec_sklearn.recordings import Cohort

SUBJECTS = pd.DataFrame(
    {
        "age": [40.0, 50, 60, 70, 80, np.nan],
        "race": ["white", "black", "white", "unknown", "asian", "white"],
        "treated": [0, 0, 0, 1, 1, 1],
    }
)


def cell(table, characteristic, column, category=""):
    return table.table.loc[(characteristic, category), column]


@pytest.mark.parametrize(
    ("numbers", "options", "text"),
    [((0.7912, 0.7468, 0.8125), {}, "0.79 (0.75 to 0.81)"),
     ((-0.001, -0.2, 0.14), {}, "0.00 (-0.20 to 0.14)"),
     ((0.36, 0.17, 0.52), {"sign": True}, "+0.36 (+0.17 to +0.52)"),
     ((-0.004, -1, 0), {"sign": True}, "0.00 (-1.00 to 0.00)"),
     ((np.nan, 0.1, 0.2), {}, "–"), ((5.1, np.nan, np.nan), {"digits": 1}, "5.1 (–)"),
     ((5.1, 3.2, np.nan), {"digits": 1, "missing": "NE"}, "5.1 (3.2 to NE)"),
     ((12, 8, 1234567), {"digits": 0}, "12 (8 to 1234567)")],
)  # fmt: skip
def test_intervals_are_written(numbers, options, text):
    assert format_interval(*numbers, **options) == text


def test_intervals_of_columns():
    scores = pd.DataFrame({"v": [0.5, np.nan], "low": [0.4, 0], "high": [0.6, 1]}, index=["a", "b"])
    texts = format_interval(scores["v"], scores["low"], scores["high"], digits=1)
    assert texts.to_dict() == {"a": "0.5 (0.4 to 0.6)", "b": "–"}
    columns = scores.to_numpy().T
    for given in (columns, columns.tolist()):
        assert format_interval(*given).tolist() == ["0.50 (0.40 to 0.60)", "–"]
    turned = format_interval(scores["v"], scores["low"][::-1], scores["high"], digits=1)
    assert turned.tolist() == ["0.5 (0.4 to 0.6)", "–"]
    with pytest.raises(ValueError, match="other labels in their index"):
        format_interval(scores["v"], scores["low"], scores["high"].rename({"a": "c"}))


def test_numbers_keep_their_digits():
    frame = pd.DataFrame({"recall": [1.0, 1.0], "n_rows": [3, np.nan], "k": [2, 3]})
    frame["p"] = [0.0007, 0.0312]
    rows = to_markdown(frame).splitlines()[2:]
    cells = [[word.strip() for word in row.strip("|").split("|")] for row in rows]
    assert cells == [["1.00", "3", "2", "<0.001"], ["1.00", "–", "3", "0.031"]]


def test_durations_are_hours():
    frame = pd.DataFrame({"gap": pd.to_timedelta(["1h", "2h", None, "3h"])})
    table = table_one(frame)
    assert cell(table, "gap, h, mean (SD)", "all") == "2.0 (1.0)"
    assert cell(table, "gap, h, mean (SD)", "all", "missing") == "1 (25.0)"


def test_numbers_and_categories_are_described():
    table = table_one(SUBJECTS, by="treated", labels={"age": "Age, years"})
    assert cell(table, "n", "treated = 1") == "3"
    assert cell(table, "Age, years, mean (SD)", "all") == "60.0 (15.8)"
    assert cell(table, "Age, years, mean (SD)", "treated = 0") == "50.0 (10.0)"
    assert cell(table, "Age, years, mean (SD)", "treated = 1", "missing") == "1 (33.3)"
    # per cent of the five whose race is known
    assert cell(table, "race, n (%)", "all", "white") == "3 (60.0)"
    assert cell(table, "race, n (%)", "all", "missing") == "1 (16.7)"
    assert table.table.index.get_level_values(1).tolist()[3:6] == ["asian", "black", "white"]


def test_differences_are_standardised():
    table = table_one(SUBJECTS, by="treated")
    assert table.smd["age"] == pytest.approx(25 / np.sqrt((100 + 50) / 2))
    # asian and black, the last one following from them
    p, q = np.array([0, 1 / 3]), np.array([1 / 2, 0])
    s = sum(np.diag(x) - np.outer(x, x) for x in (p, q)) / 2
    assert table.smd["race"] == pytest.approx(np.sqrt((p - q) @ np.linalg.inv(s) @ (p - q)))
    assert cell(table, "age, mean (SD)", "SMD") == "2.89"


def test_two_categories_as_binary():
    frame = pd.DataFrame({"ill": [0, 1, 1, 1, 0, 0, 0, 1], "group": ["a"] * 4 + ["b"] * 4})
    frame["word"] = frame["ill"].map({0: "no", 1: "yes"})
    smd = table_one(frame, by="group").smd
    assert smd["ill"] == pytest.approx(0.5 / np.sqrt(0.75 * 0.25))
    assert smd["word"] == pytest.approx(smd["ill"])


def test_largest_of_three_groups():
    frame = pd.DataFrame({"x": [0, 1, 2, 10, 11, 12, 0, 1, 2.0], "arm": list("aaabbbccc")})
    table = table_one(frame, by="arm")
    assert table.smd["x"] == pytest.approx(10)
    frame.loc[8, "arm"] = None
    table = table_one(frame, by="arm")
    assert table.table.columns.tolist() == ["all", "a", "b", "c", "missing", "SMD"]
    assert cell(table, "n", "missing") == "1"
    assert table.smd["x"] == pytest.approx(10.5 / np.sqrt((1 + 0.5) / 2))


def test_undefined_differences_have_dash():
    frame = pd.DataFrame({"x": [1, 1, 2, 2], "same": [3, 3, 3, 3], "arm": list("aabb")})
    table = table_one(frame, by="arm", columns=["x", "same"])
    assert cell(table, "x, mean (SD)", "SMD") == "–"
    assert table.smd["same"] == 0


def test_skewed_numbers_have_medians():
    frame = pd.DataFrame({"ahi": [1, 2, 3, 4, 90.0], "age": [50, 55, 60, 65, np.inf]})
    table = table_one(frame)
    assert cell(table, "ahi, median (IQR)", "all") == "3.0 (2.0 to 4.0)"
    assert cell(table, "age, mean (SD)", "all") == "57.5 (6.5)"
    assert cell(table, "age, mean (SD)", "all", "missing") == "1 (20.0)"
    assert cell(table_one(frame, median=["age"]), "ahi, mean (SD)", "all") == "20.0 (39.1)"


def test_codes_become_categories():
    frame = pd.DataFrame({"sex": [0, 1, 1], "race": [1, np.nan, 2], "flag": [True, False, True]})
    frame["grade"] = pd.Categorical(["low", "high", "low"], ["low", "middle", "high"])
    table = table_one(frame, categorical=["race"])
    assert cell(table, "sex, n (%)", "all", "male") == "2 (66.7)"
    assert cell(table, "race, n (%)", "all", "1") == "1 (50.0)"
    table = table_one(frame.assign(sex=[1, 2, 2]), by="sex", labels={"sex": "Sex"})
    assert table.table.columns.tolist()[1:3] == ["Sex = 1", "Sex = 2"]
    assert cell(table_one(frame.assign(sex=[1, 2, 2])), "sex, n (%)", "all", "2") == "2 (66.7)"
    assert cell(table, "flag, n (%)", "all") == "2 (66.7)"
    assert table.table.loc["grade, n (%)"].index.tolist() == ["low", "high"]


def test_none_is_a_group():
    words = ["none", "mild", "unknown", "none", "mild", "missing"]
    frame = pd.DataFrame({"osa": words, "age": [50, 60, 70, 52, 61, 40]})
    table = table_one(frame, by="osa")
    assert table.table.columns.tolist() == ["all", "mild", "none", "missing", "SMD"]
    assert table.smd["age"] == pytest.approx(9.5 / np.sqrt((0.5 + 2) / 2))
    frame["osa"] = pd.Categorical(words, ["none", "mild", "unknown", "missing"])
    assert table_one(frame, columns=["osa"]).table["all"].tolist() == [
        "6", "2 (40.0)", "2 (40.0)", "1 (20.0)", "1 (16.7)"
    ]  # fmt: skip
    counts = table_one(pd.DataFrame({"drinks": [2, 4, "none"]}))
    assert cell(counts, "drinks, mean (SD)", "all") == "3.0 (1.4)"


def test_identifiers_are_left_out():
    frame = pd.DataFrame(
        {"age": [50, 60], "obf_pptid": [1, 2], "lipid": [1.5, 2], "mixed": [1, "?!"]}
    )
    frame["start"] = pd.to_datetime(["2020-01-01", "2020-01-02"])
    frame["empty"] = None
    table = table_one(frame)
    assert sorted(table.left_out) == ["empty", "mixed", "obf_pptid", "start"]
    assert "lipid, mean (SD)" in table.table.index
    assert "left out: obf_pptid, mixed" in repr(table)
    notes = pd.DataFrame({"note": [f"seen {i}" for i in range(21)]})
    assert table_one(notes).left_out == {"note": "has 21 categories"}
    assert len(table_one(notes, columns=["note"]).table) == 22


def test_cohort_is_described_by_subject():
    cohort = make_sleep_cohort(4, nights_per_subject=2, hours=0.25, modalities=["ibi"])
    cohort.metadata["age"] = [np.nan, 40, 50, 51, 60, 61, 70, 71]
    table = table_one(cohort, columns=pd.Index(["age"]))
    assert (table.n, table.unit) == (4, "subjects")
    assert cell(table, "age, mean (SD)", "all") == "55.0 (12.9)"
    assert cell(table, "recordings", "all") == "8"
    assert table_one(cohort.metadata, columns=["age"]).n == 8
    with pytest.raises(InvalidRecordingError, match=r"'night' differs .* 4 subjects, such as 'sim"):
        table_one(cohort, by="night")


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [(SUBJECTS[:0], {}, "0 rows of"), ([1], {}, "type list; accepted is a Cohort"),
     (Cohort([], pd.DataFrame()), {}, "0 rows of"),
     (SUBJECTS[[]], {}, "6 rows of 0 columns"),
     (SUBJECTS.assign(on=pd.Timestamp("2020-01-01")), {"columns": ["on"]}, "'on' holds dates"),
     (SUBJECTS, {"by": "arm"}, "no column 'arm'"), (SUBJECTS[:2], {"by": "treated"}, "1 values"),
     (SUBJECTS, {"columns": ["bmi"]}, "no column 'bmi'; its columns are age, race"),
     (SUBJECTS, {"median": ["race"]}, "median names 'race'"),
     (SUBJECTS, {"categorical": "race"}, r"categorical is 'race'.*Pass \['race'\]"),
     (SUBJECTS, {"columns": "race"}, "columns is 'race'; accepted is a list"),
     (SUBJECTS.assign(race=[1, 2, 3, 4, 5, "6l"]), {"columns": ["race"]}, "5 numbers and 1 words"),
     (SUBJECTS.assign(age=["27,5"] * 6), {"columns": ["age"]}, "'27,5', with a comma")],
)  # fmt: skip
def test_unusable_tables_are_refused(data, options, message):
    with pytest.raises(ValueError, match=message):
        table_one(data, **options)


def test_labels_must_differ():
    frame = pd.DataFrame({"a": [1.5, 2], "b": [1.5, 2]})
    with pytest.raises(ValueError, match="two columns the name 'x'"):
        table_one(frame, labels={"a": "x", "b": "x"})


def test_table_one_leaves():
    table = table_one(SUBJECTS.replace("asian", "a|b & <c>"))
    assert r"| a\|b & <c>" in table.to_markdown()
    latex = table.to_latex(caption="Subjects", label="tab:one")
    assert r"race, n (\%) & a|b \& <c> & 1 (20.0) \\" in latex
    assert r"\label{tab:one}" in latex
    html = table._repr_html_()
    assert "a|b &amp; &lt;c&gt;" in html
    assert html.count("<tr") == len(table.table) + 1


def test_results_become_tables():
    index = pd.MultiIndex.from_tuples([("a", "auc"), ("b", "auc")], names=["estimator", "metric"])
    scores = pd.DataFrame({"value": [0.7, 0.8], "low": [0.6, 0.7], "high": [0.8, 0.9]}, index)
    scores[["subjects", "difference", "difference_low", "difference_high", "p"]] = [
        [20, np.nan, np.nan, np.nan, np.nan], [20, 0.1, -0.05, 0.2, 0.961]]  # fmt: skip
    lines = to_markdown(scores, labels={"value": "AUROC (95 % CI)"}).splitlines()
    cells = [[word.strip() for word in line.strip("|").split("|")] for line in lines]
    assert cells[0] == [
        "estimator", "metric", "AUROC (95 % CI)", "subjects", "difference (CI)", "p"]  # fmt: skip
    assert cells[2] == ["a", "auc", "0.70 (0.60 to 0.80)", "20", "–", "–"]
    assert cells[3] == ["b", "auc", "0.80 (0.70 to 0.90)", "20", "+0.10 (-0.05 to +0.20)", "0.961"]
    assert "& -- & -- \\\\" in to_latex(scores)
    scan = pd.DataFrame({"gain": [0.1], "gain_low": [0.0], "gain_high": [0.2], "p_bh": [1e-4]})
    assert to_latex(scan).splitlines()[4] == r"+0.10 (0.00 to +0.20) & $<$0.001 \\"
    means = pd.DataFrame({"mean": [0.7], "subject_low": [0.6], "subject_high": [0.8], "low": [1.0]})
    assert to_markdown(means).splitlines()[2].split("|")[1:3] == [
        " 0.70 (0.60 to 0.80) ", " 1.00  "]  # fmt: skip
    with pytest.raises(TypeError, match="type Recording; accepted is a DataFrame"):
        to_markdown(Recording({"ibi": np.ones(120)}))
