# SPDX-License-Identifier: BSD-3-Clause
"""Names of tests are short, and few files import inner names of the package."""

import ast
from pathlib import Path

TESTS = Path(__file__).parent
MOST_WORDS = 5
TREES = {
    path.relative_to(TESTS).with_suffix("").as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(TESTS.rglob("*.py"))
}
# numbers, laws and damage that the public names do not reach
INNER = {
    ".": (
        "broken test_arguments test_checks test_cli test_files test_hardware test_modes "
        "test_progress test_untrusted test_warnings"
    ),
    "fuzz": "stored",
    "benchmarks/speed": "test_cluster",
    "datasets": "test_files test_sleep_edf",
    "datasets/simulation": (
        "test_cohort test_devices test_edf_export test_events test_night test_physiology "
        "test_signals test_subjects"
    ),
    "encoding": (
        "conftest nights test_cache_disk test_cache_size test_context test_engine test_leakage "
        "test_parallel test_pooling test_windows"
    ),
    "evaluation": (
        "test_added_scores test_cox_regression test_cross_validation test_regression test_subjects"
    ),
    "finetuning": (
        "conftest test_base test_classifier test_cox test_data test_heads test_labels "
        "test_losses test_net test_network test_saving test_stage_programs test_stager"
    ),
    "model": "test_tokenizers",
    "model/upstream": "test_files",
    "nightstore": "test_store",
    "pretraining": (
        "interrupted ranks steps test_adaptation test_callbacks test_data test_distributed "
        "test_module test_net test_sampling test_state test_validation"
    ),
    "probing": "conftest test_modality_dropout test_retrieval test_sensor_study",
    "readers": (
        "test_boundary test_channels test_derivations test_edf test_edf_header test_labels "
        "test_matlab test_montage test_nsrr test_scoring"
    ),
    "recordings": "test_conditioning test_demographics test_event_names test_resampling",
}


def imports_inner_names(tree: ast.Module) -> bool:
    """Whether a module or name with an underscore is imported from the package."""
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
    inside = [name.split(".") for name in imported if name.startswith("sleep2vec_sklearn.")]
    return any(part[0] == "_" and part[1] != "_" for name in inside for part in name)


def test_names_are_short():
    names = {node.name for tree in TREES.values() for node in ast.walk(tree) if is_test(node)}
    assert [name for name in names if len(name.split("_")) > 1 + MOST_WORDS] == []


def is_test(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name.startswith("test_")


def test_few_files_import_inner_names():
    found = {file for file, tree in TREES.items() if imports_inner_names(tree)}
    allowed = {
        (Path(folder) / name).as_posix()
        for folder, names in INNER.items()
        for name in names.split()
    }
    assert found - allowed == set()
