# SPDX-License-Identifier: BSD-3-Clause
"""API reference: an index and a page per public name, generated from ``__all__``.

``docs/conf.py`` writes the pages before each build. A name belongs to the group of the package that
defines it, and is documented under its shortest import path.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Container
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = "sleep2vec_sklearn"

SUBPACKAGES = (
    "recordings", "readers", "encoding", "model", "nightstore", "pretraining", "finetuning",
    "evaluation", "probing", "plotting", "reports", "datasets", "checks", "errors",
)  # fmt: skip

GROUPS = {
    "readers": ("Read files", "EDF+ and other formats, one night or a cohort."),
    "recordings": ("Recordings and epochs", "The elements of X: nights, their signals and labels."),
    "encoding": ("Embed nights", "The transformer, its tables and cache, and covariates."),
    "finetuning": ("Fine-tune", "Estimators that train a head, or the whole encoder, on labels."),
    "evaluation": ("Evaluate", "Reports, sleep statistics, metrics and comparisons."),
    "probing": (
        "Study an encoder",
        "Label efficiency, importance of sensors, scaling laws.",
    ),
    "plotting": ("Plots", "Displays as in scikit-learn; all need matplotlib."),
    "reports": ("Reports", "A night, a cohort or a model as one HTML file."),
    "nightstore": (
        "Store nights",
        "Conditioned nights on disk, read in windows during pretraining.",
    ),
    "pretraining": ("Pretrain", "Encoders of your own, and new sensors for existing ones."),
    "model": ("Checkpoints", "Encoders on disk and in memory, and those of the paper's authors."),
    "datasets": ("Data sets", "Simulated cohorts, and public data sets in their own layouts."),
    "config": ("Configuration", "Global settings of the process."),
    "checks": ("Estimator checks", "scikit-learn's checks, for X of recordings."),
    "errors": (
        "Errors and warnings",
        "Classes and hierarchy; :doc:`how to fix them </errors>`.",
    ),
}


@dataclass(frozen=True)
class PublicName:
    """A name, its documented import path, and its group."""

    name: str
    path: str
    group: str

    @property
    def value(self):
        module, _, name = self.path.rpartition(".")
        return getattr(importlib.import_module(module), name)


def public_names() -> list[PublicName]:
    """Every name of every ``__all__``, once, in the order of the groups."""
    top = importlib.import_module(PACKAGE)
    names = {}
    for subpackage in ("", *SUBPACKAGES):
        module = _import(subpackage) if subpackage else top
        for name in set(getattr(module, "__all__", ())) - {"__version__"}:
            value = getattr(module, name)
            path = ".".join(filter(None, (PACKAGE, subpackage, name)))
            # two constants may be the same object, so only their names identify them
            key = id(value) if callable(value) else name
            names.setdefault(key, PublicName(name, path, _group_of(value, subpackage)))
    order = list(GROUPS)
    return sorted(names.values(), key=lambda entry: (order.index(entry.group), entry.name.lower()))


def _import(subpackage: str):
    return importlib.import_module(f"{PACKAGE}.{subpackage}")


def _group_of(value, subpackage: str) -> str:
    """The subpackage that defines it; for a constant the one that exports it."""
    module = getattr(value, "__module__", None) or ""
    code = module.split(".")[1:2] if module.startswith(PACKAGE) else []
    return (code or [subpackage])[0]


def write_pages(folder: Path) -> list[Path]:
    """Write ``index.rst`` and a page per name, and remove stale pages."""
    folder.mkdir(parents=True, exist_ok=True)
    names = public_names()
    texts = {f"{entry.path}.rst": _page(entry) for entry in names}
    texts["index.rst"] = _index(names)
    for old in folder.glob("*.rst"):
        if old.name not in texts:
            old.unlink()
    for name, text in texts.items():
        path = folder / name
        # Sphinx reads only modified pages again
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return sorted(folder / name for name in texts)


def write_features(path: Path) -> None:
    """Write the expert features without a context, and the contexts of each."""
    from sleep2vec_sklearn.encoding import feature_table

    table = feature_table()
    base = table[~table["relative"]]
    contexts = [
        " ".join(re.findall(rf"^{name}_(rel|[msab]\d+)$", "\n".join(table.index), re.MULTILINE))
        for name in base.index
    ]
    columns = base[["meaning", "unit", "typical"]].assign(suffixes=contexts)
    columns.to_csv(path, float_format="%g")


def _index(names: list[PublicName]) -> str:
    lines = [
        "API reference", "=============", "",
        "All public names, by task. Anything else is private and may change.", "",
    ]  # fmt: skip
    for group, (title, sentence) in GROUPS.items():
        members = [entry for entry in names if entry.group == group]
        if not members:
            continue
        lines += [title, "-" * len(title), "", sentence, "", ".. list-table::", "   :widths: 38 62"]
        lines += ["   :class: api-table", ""]
        for entry in members:
            lines += [f"   * - {_role(entry)}", f"     - {summary(entry)}"]
        lines += ["", ".. toctree::", "   :hidden:", f"   :caption: {title}", ""]
        lines += [*(f"   {entry.name} <{entry.path}>" for entry in members), ""]
    return "\n".join(lines)


def _role(entry: PublicName) -> str:
    kind = "class" if inspect.isclass(entry.value) else "func"
    kind = kind if callable(entry.value) else "data"
    shown = entry.path.removeprefix(f"{PACKAGE}.")
    return f":py:{kind}:`{shown} <{entry.path}>`"


def documentation(entry: PublicName) -> str:
    """The docstring, or for constants, which have none, the text below."""
    return inspect.getdoc(entry.value) if callable(entry.value) else _CONSTANTS[entry.name]


def summary(entry: PublicName) -> str:
    """The first sentence or two, on one line."""
    return " ".join(documentation(entry).partition("\n\n")[0].split())


_CONSTANTS = {
    "BUNDLED": """The bundled encoders: name to sha256.

>>> from sleep2vec_sklearn.model import BUNDLED
>>> sorted(BUNDLED)
['sleep2vec-mini']
""",
    "EPOCH_SECONDS": """Length of an epoch in seconds.

>>> from sleep2vec_sklearn.recordings import EPOCH_SECONDS
>>> 8 * 3600 // EPOCH_SECONDS  # epochs of a night
960
""",
    "MODALITIES": """The catalogue of modalities, by name.

>>> from sleep2vec_sklearn.recordings import MODALITIES
>>> list(MODALITIES)
['eeg', 'eog', 'emg', 'ecg', 'airflow', 'effort', 'spo2', 'ibi', 'resp', 'ppg', 'actigraphy']
""",
}


def link_target(code: str, documented: Container[str]) -> str | None:
    """The documented object that inline code names, if any.

    ``Recording``, ``Recording.rates``, ``read_cohort(folder)`` and
    ``sleep2vec_sklearn.plotting.HypnogramDisplay`` are such names.
    """
    prefix = rf"(?:{PACKAGE}\.(?:[a-z_]+\.)?)?"
    named = re.match(prefix + r"([A-Za-z]\w+)((?:\.\w+)?)(?![\w.])", code)
    if named is None or re.search(r"[=\n]", code.partition("(")[0]):
        return None
    path = _paths().get(named[1], "")
    return path + named[2] if path + named[2] in documented else None


@cache
def _paths() -> dict[str, str]:
    return {entry.name: entry.path for entry in public_names()}


def _page(entry: PublicName) -> str:
    title = entry.name
    lines = [title, "=" * len(title), "", f".. currentmodule:: {entry.path.rpartition('.')[0]}", ""]
    value = entry.value
    if inspect.isclass(value):
        lines += [f".. autoclass:: {entry.path}", ""]
        for method, directive in _methods(value).items():
            lines += [f"   .. {directive}:: {method}", ""]
    elif callable(value):
        lines += [f".. autofunction:: {entry.path}", ""]
    else:
        shown = repr(value) if isinstance(value, (int, float, str)) else None
        lines += [f".. py:data:: {entry.path}", *([f"   :value: {shown}"] if shown else []), ""]
        lines += [f"   {line}".rstrip() for line in documentation(entry).splitlines()]
        lines.append("")
    lines += [f".. minigallery:: {entry.path}", "   :add-heading: Examples in the gallery", ""]
    return "\n".join(lines)


def _methods(value: type) -> dict[str, str]:
    """Documented public methods and properties of the library, and their directives."""
    directives = {}
    for name in dir(value):
        if name.startswith("_"):
            continue
        owner = next((base for base in value.__mro__ if name in vars(base)), None)
        if owner is None or not owner.__module__.startswith(PACKAGE):
            continue
        member = inspect.getattr_static(value, name)
        # of scikit-learn's available_if
        member = getattr(member, "fn", member)
        if isinstance(member, (staticmethod, classmethod, property)) or inspect.isfunction(member):
            function = getattr(member, "__func__", getattr(member, "fget", member))
            if getattr(function, "__doc__", None):
                directives[name] = "autoproperty" if isinstance(member, property) else "automethod"
    return directives
