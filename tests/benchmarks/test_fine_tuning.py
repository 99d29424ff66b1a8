# SPDX-License-Identifier: BSD-3-Clause
import numpy as np

from benchmarks.fine_tuning import compare, estimators


def test_the_best_probe_and_every_way_of_fine_tuning_are_scored():
    models = estimators()
    assert [name for name in models if "fine-tuned" in name] == [
        "fine-tuned, head",
        "fine-tuned, lora",
        "fine-tuned, full",
    ]
    models.pop("fine-tuned, lora")
    models.pop("fine-tuned, full")
    models["fine-tuned, head"].set_params(max_epochs=2)
    table = compare(4, 1.0, ["ibi", "resp"], models)
    assert len(table) == 2
    assert table.index[0].startswith("probe")
    assert np.isfinite(table.to_numpy()).all()
    assert (table["kappa"] <= 1).all()
