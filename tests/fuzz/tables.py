# SPDX-License-Identifier: BSD-3-Clause
"""Tables of nights and of metadata, which name the files of a cohort and their subjects."""

from __future__ import annotations

from sleep2vec_sklearn import read_cohort
from tests.fuzz import edf
from tests.fuzz.mutators import TEXT, damage
from tests.fuzz.targets import Target


def make_corpus(folder):
    for name in ("listed", "described"):
        nights = folder / name
        nights.mkdir(parents=True)
        for i in range(2):
            edf.write(nights / f"n{i}.edf", [("SpO2", 1, "%")], seed=i)
        (nights / "n0_hypnogram.csv").write_text("onset,duration,stage\n0,30,W\n30,30,N2\n")
    (folder / "listed" / "nights.csv").write_text(
        "path,subject,hypnogram,age\nn0.edf,a,n0_hypnogram.csv,44\nn1.edf,b,False,51\n"
    )
    (folder / "described" / "table.csv").write_text(
        "id,subject,age,sex,visit\nn0,a,44.5,M,1\nn1,b,51,F,2\n"
    )
    return sorted(folder.iterdir())


def mutate(rng, path):
    damage(rng, path / ("nights.csv" if path.name == "listed" else "table.csv"), TEXT)


def check(path):
    if path.name == "listed":
        cohort = read_cohort(path / "nights.csv")
    else:
        cohort = read_cohort(path, metadata=path / "table.csv")
    return [] if len(cohort) == len(cohort.metadata) else ["metadata of another length"]


TARGET = Target(make_corpus, mutate, check, n_slice=15)
