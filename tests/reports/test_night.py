# SPDX-License-Identifier: BSD-3-Clause
import re
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from sleep2vec_sklearn import Recording, make_sleep_cohort, stage_night
from sleep2vec_sklearn.errors import InvalidRecordingError
from sleep2vec_sklearn.evaluation import respiratory_statistics, sleep_statistics
from sleep2vec_sklearn.reports import night_report
from tests.reports.pages import check_page


@pytest.fixture(scope="module")
def night():
    names = ["eeg", "spo2", "ibi"]
    return make_sleep_cohort(1, hours=1.5, modalities=names, missing=0, random_state=3)[0]


@pytest.fixture(scope="module")
def staged(night):
    return stage_night(night)


@pytest.fixture(scope="module")
def page(night, staged):
    return check_page(night_report(night, staged=staged))


def make(stages=None, minutes=20, **described):
    values = 96 + np.sin(np.arange(minutes * 60) / 7)
    return Recording({"spo2": (values, 1)}, stages=stages, **described)


def test_page_has_every_part(page):
    titles = re.findall("<h2>(.*?)</h2>", page.html)
    assert titles == [
        "Subject and recording", "Sensors", "Sleep stages", "Sleep statistics",
        "Respiratory indices", "Oxygen saturation", "Events", "What was left out, and why",
        "How the stages were predicted, and versions",
    ]  # fmt: skip
    assert len(page.html.encode()) < 400_000
    assert page.text.count("not a medical device") > 1


def test_subject_and_clock_times(page, night):
    assert page.row("Subject") == ["sim-0001"]
    assert page.row("Start") == [str(night.start)]
    assert page.row("Sex") == [{"F": "female", "M": "male"}[night.metadata["sex"]]]


def test_clock_is_set_at_night():
    start = datetime(2024, 3, 30, 22, tzinfo=ZoneInfo("Europe/Berlin"))
    night = make([2] * 720, 360, start=start, lights=(0, 21_600))
    page = check_page(night_report(night, stager=None))
    assert page.row("End") == ["2024-03-31 05:00:00+02:00"]
    assert "05:00:00 (360.0 min" in page.row("Lights")[0]


def test_statistics_of_both_sides(page, night, staged):
    scored = sleep_statistics(night)["tst_min"]
    predicted = sleep_statistics(night, stages=staged.stages)["tst_min"]
    assert page.row("Total sleep time") == ["min", f"{scored:.1f}", f"{predicted:.1f}"]
    assert "refer to lights off and on of the recording" in page.text


def test_respiratory_indices_by_rule(page, night):
    values = [respiratory_statistics(night, hypopnea_rule=rule)["ahi"] for rule in ("3%", "4%")]
    assert page.row("Apnea-hypopnea index")[1:] == [f"{value:.1f}" for value in values]


def test_sensors_and_their_coverage(page):
    channel, origin, unit, _, hours, _ = page.row("spo2")
    assert (channel, origin, unit) == ("–", "recorded", "%")
    assert float(hours) == pytest.approx(1.5, abs=0.01)


def test_lights_passed_count(night, staged):
    page = check_page(night_report(night, staged=staged, lights=(600, 3600)))
    assert page.row("Time in bed") == ["min", "50.0", "50.0"]
    assert "as passed for this report" in page.text
    with pytest.raises(InvalidRecordingError, match="lights has 'noon'"):
        night_report(night, stager=None, lights=("noon", None))


def test_training_subjects_are_named(staged):
    first = staged.card["real_people"]["slpdb"][0]
    night = make([2] * 180, minutes=90, subject=first.partition("/")[2])
    page = check_page(night_report(night, staged=staged))
    assert f"trained on a subject of this name, {first}" in page.text


def test_stages_of_another_night(staged):
    with pytest.raises(InvalidRecordingError, match="staged has 180 epochs"):
        night_report(make(), staged=staged)


def test_card_and_its_scores(page, staged):
    first = staged.card["held_out"][0]
    assert page.row(first["nights"])[:2] == [first["sensors"], str(first["subjects"])]


def test_unscored_short_night():
    page = check_page(night_report(make()))
    assert "shorter than 1 hour" in page.text
    assert "The night was not scored" in page.text
    assert "No events are known" in page.text
    assert "Lights off and on are not known" in page.text
    assert "fewer than 20 epochs" not in page.text


def test_night_of_one_epoch():
    page = check_page(night_report({"spo2": ([96.0, 95.0] * 15, 1)}))
    assert page.row("Duration") == ["0.01 h, 1 epochs of 30 s"]
    assert "too few to compare" in page.text


def test_day_and_night():
    stages = np.zeros(2880, dtype=int)
    stages[1000:1900] = 2
    night = make(stages, minutes=24 * 60, start=datetime(2024, 5, 1, 12))
    page = check_page(night_report(night, stager=None))
    assert "longer than 12 h" in page.text
    assert "refer to the main sleep period, scored 20:20:00" in page.text
    assert page.row("Total sleep time") == ["min", "450.0"]
    assert page.row("Sleep efficiency") == ["%", "–"]
    assert page.row("main")[2:] == ["450.0", "0.0"]
    assert page.row("End") == ["2024-05-02 12:00:00"]
    whole = check_page(night_report(night, stager=None, lights="recording"))
    assert whole.row("Sleep efficiency") == ["%", "31.2"]


def test_night_without_sleep():
    events = pd.DataFrame({"onset": [60.0], "duration": [20.0], "type": ["apnea"]})
    page = check_page(night_report(make([0] * 40, events=events), stager=None))
    assert page.row("Total sleep time") == ["min", "0.0"]
    assert page.row("Apnea-hypopnea index")[1:] == ["–", "–"]


def test_flat_sensor_is_noted():
    night = Recording({"spo2": (np.full(1200, 96.0), 1)})
    page = check_page(night_report(night))
    assert "could not be staged" in page.text
    assert "spo2: no epoch with a usable signal" in page.text


def test_failing_part_is_noted(monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("sleep2vec_sklearn.reports.night.oximetry_statistics", fail)
    page = check_page(night_report(make([2] * 40), stager=None))
    assert "Not available: ZeroDivisionError: by zero" in page.text


def test_unreadable_sensor_is_noted(counting_source):
    class Failing(counting_source):
        def read(self, names):
            raise OSError("disk error")

    night = Recording.from_source(Failing({"spo2": (np.ones(600), 1, "%")}))
    page = check_page(night_report(night))
    assert "spo2 cannot be read: OSError: disk error" in page.text


def test_warnings_are_listed():
    events = pd.DataFrame({"onset": [60.0], "duration": [20.0], "type": ["Ereignis 3"]})
    page = check_page(night_report(make([2] * 40, events=events), stager=None))
    assert "Ereignis 3" in page.text.partition("What was left out, and why")[2]


def test_texts_of_files_are_escaped():
    hostile = '<script>alert(1)</script>"\x00$x$'
    events = pd.DataFrame({"onset": [60.0], "duration": [20.0], "type": [hostile]})
    night = make(
        [2] * 40, events=events, id=hostile + "\ud800", subject=hostile, metadata={"site": hostile}
    )
    night.notes = (hostile,)
    html = night_report(night, stager=None, title=hostile)
    assert check_page(html).text.count("<script>alert(1)</script>") > 5
    assert html.encode()


def test_names_of_patients_stay_out(staged):
    night = make([2] * 40, metadata={"age": 44, "patient": "Jane Roe", "name": "Jane Roe"})
    page = check_page(night_report(night, stager=None))
    assert "Roe" not in page.html
    assert page.row("Age") == ["44 years"]


def test_path_is_read_and_written(tmp_path):
    np.savez(tmp_path / "n1.npz", spo2=96 + np.sin(np.arange(4800) / 9))
    target = tmp_path / "new" / "report.html"
    html = night_report(tmp_path / "n1.npz", target, stager=None)
    assert target.read_text(encoding="utf-8") == html
    assert check_page(html).row("Recording") == ["n1"]


def test_matplotlib_is_asked_for(no_matplotlib):
    with pytest.raises(ImportError, match=r"sleep2vec-sklearn\[plot\]"):
        night_report(make())


def test_refused_path_is_named(refused, tmp_path):
    with pytest.raises(PermissionError, match=r"report\.html: not saved, no permission"):
        night_report(make(), tmp_path / "report.html")


def test_folder_is_no_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        night_report(make(), tmp_path)


def test_other_objects_are_refused():
    with pytest.raises(InvalidRecordingError, match="accepted are a Recording or a dict"):
        night_report([1, 2])
