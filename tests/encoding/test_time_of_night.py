# SPDX-License-Identifier: BSD-3-Clause
import numpy as np
import pytest
from sklearn.pipeline import make_union

from sleep2vec_sklearn import EpochSequence, Recording, TimeOfNight
from sleep2vec_sklearn.errors import InvalidRecordingError


def night(hours=8, **known):
    return Recording({"spo2": np.full(round(hours * 3600), 96.0)}, rates={"spo2": 1}, **known)


def test_time_starts_with_recording():
    rows = TimeOfNight().fit_transform(EpochSequence([night(8), night(4)]))
    hours, squares, settling, share = rows.T
    assert hours[0] == pytest.approx(15 / 3600)
    assert hours[959] == pytest.approx(8 - 15 / 3600)
    assert hours[960] == hours[0]
    np.testing.assert_allclose(squares, hours**2, rtol=1e-5)
    np.testing.assert_allclose(settling, np.exp(-hours), rtol=1e-5)
    assert share[480] == pytest.approx(0.5, abs=1e-3)
    assert share[960 + 240] == pytest.approx(0.5, abs=2e-3)


def test_time_starts_at_lights_out():
    X = EpochSequence([night(8, lights=(3600, 7 * 3600))])
    hours, _, settling, share = TimeOfNight().fit_transform(X).T
    assert hours[120] == pytest.approx(15 / 3600)
    assert hours[0] < -0.9
    assert settling[:120].tolist() == [1.0] * 120
    assert share[120 + 360] == pytest.approx(0.5, abs=2e-3)


@pytest.mark.parametrize("lights", [(3600, None), (None, 7 * 3600)])
def test_missing_light_is_recording_edge(lights):
    known = (lights[0] or 0, lights[1] or 8 * 3600)
    rows, same = (
        TimeOfNight().fit_transform(EpochSequence([night(8, lights=edges)]))
        for edges in (lights, known)
    )
    np.testing.assert_array_equal(rows, same)


def test_time_ignores_other_epochs():
    X = EpochSequence([night(2), night(3)])
    clock = TimeOfNight().fit(X)
    chosen = np.array([500, 3, 4, 250])
    np.testing.assert_array_equal(clock.transform(X[chosen]), clock.transform(X)[chosen])
    with pytest.raises(InvalidRecordingError, match=r"no one time.*EpochSequence\(X\)"):
        TimeOfNight().fit([night()])


def test_union_names_the_columns():
    union = make_union(TimeOfNight()).set_output(transform="pandas")
    table = union.fit_transform(EpochSequence([night(1, id="a")]))
    names = [name.split("__")[1] for name in table]
    assert names == ["hours", "hours_squared", "settling", "share"]
    assert table.index[0][0] == "a"
