# SPDX-License-Identifier: BSD-3-Clause
import ast
import subprocess
import sys
from pathlib import Path

import pytest

import sleep2vec_sklearn
from sleep2vec_sklearn import encoding, errors, model

PUBLIC = [
    "EmbeddingTable", "EpochSequence", "PrecomputedEmbeddings", "Recording", "RecordingMetadata",
    "Sleep2VecClassifier", "Sleep2VecCoxRegressor", "Sleep2VecEventDetector", "Sleep2VecPretrainer",
    "Sleep2VecRegressor", "Sleep2VecTransformer", "SleepStage", "TimeOfNight", "__version__",
    "cache_info", "clear_cache", "config_context", "cross_modal_retrieval", "describe_channels",
    "fit_scaling_law", "get_config", "label_efficiency_curve", "load_checkpoint",
    "make_sleep_cohort", "modality_importance", "modality_subset_scores", "read_cohort",
    "read_recording", "save_checkpoint", "set_config", "show_versions", "stage_night",
    "staging_report",
]  # fmt: skip


def test_public_names():
    assert sorted(sleep2vec_sklearn.__all__) == PUBLIC
    assert set(PUBLIC) <= set(dir(sleep2vec_sklearn))
    with pytest.raises(AttributeError, match="no attribute 'Sleep3Vec'"):
        _ = sleep2vec_sklearn.Sleep3Vec


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name):
    value = getattr(sleep2vec_sklearn, name)
    assert value if name == "__version__" else value.__doc__


@pytest.mark.parametrize(
    ("names", "heavy"),
    [
        ("set_config, cache_info", "sklearn torch mne matplotlib pandas scipy"),
        ("recordings, readers, datasets", "sklearn torch mne matplotlib"),
        (
            "Sleep2VecTransformer, Sleep2VecClassifier, PrecomputedEmbeddings, staging_report",
            "torch mne matplotlib",
        ),
    ],
)
def test_importing_stays_light(names, heavy):
    program = f"import sys; from sleep2vec_sklearn import {names}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert not set(heavy.split()) & set(loaded.split())


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_share_a_base(name):
    kind = getattr(errors, name)
    assert issubclass(kind, errors.Sleep2VecError | errors.Sleep2VecWarning)


@pytest.mark.parametrize("package", [sleep2vec_sklearn, encoding, model])
def test_names_are_completed(package):
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("package", [sleep2vec_sklearn, encoding])
def test_type_checkers_see_every_name(package):
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {alias.name: node.module for node in block.body for alias in node.names}
    assert typed == package._MODULES
    assert set(typed) == set(package.__all__) - {"__version__"}
