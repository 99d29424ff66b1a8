# SPDX-License-Identifier: BSD-3-Clause
"""Who and which visit a file name means, and the tables of the National Sleep Research Resource.

``STUDIES`` says how each study of the resource (sleepdata.org) names its nights, and which columns
of its tables hold the participant, the visit, age, sex, BMI and race. Its field ``seen`` is True
where names and codes were read in public documents: the studies' data dictionaries and the
programs that export their tables (github.com/nsrr). Where it is False they are believed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import ReadError
from ._tables import read_table, same_key, visit_key

_MALE_1, _MALE_0 = {1: "male", 0: "female"}, {0: "male", 1: "female"}
_MALE_1_2, _MALE_2_1 = {1: "male", 2: "female"}, {2: "male", 1: "female"}
_LETTERS = {"M": "male", "F": "female"}
_WHITE, _BLACK, _ASIAN = "white", "black or african american", "asian"
_NATIVE = "american indian or alaska native"
_PACIFIC = "native hawaiian or other pacific islander"
_RACE_3 = {1: _WHITE, 2: _BLACK, 3: "other"}
_RACE_7 = {
    1: _WHITE, 2: _NATIVE, 3: _BLACK, 4: _ASIAN, 5: _PACIFIC, 6: "other", 7: "multiple",
}  # fmt: skip

Codes = Mapping[Any, str]
COVARIATES = ("age", "sex", "bmi", "race")
_NOT_KNOWN = ("not reported", "unknown", "", ".")


@dataclass(frozen=True, slots=True)
class Study:
    """Names of a study's nights and of the columns of its tables.

    ``night`` matches the stem of a recording, with the groups ``id`` and, where nights have one,
    ``visit``; ``table`` the part of a table's name before ``-dataset``. ``visits`` gives the number
    that stands for a word in the visit column. ``age`` and ``bmi`` are columns, in years and
    kg/m2; ``sex`` and ``race`` columns with their codes.
    """

    name: str
    night: str
    table: str
    ids: tuple[str, ...] = ("nsrrid",)
    visit: tuple[str, ...] = ()
    visits: Mapping[str, int] = field(default_factory=dict)
    age: tuple[str, ...] = ("age",)
    bmi: tuple[str, ...] = ("bmi",)
    sex: Mapping[str, Codes] = field(default_factory=dict)
    race: Mapping[str, Codes] = field(default_factory=dict)
    usual_visit: str | None = None  # of nights whose names state none
    seen: bool = True


_CHAT_VISITS = {"baseline": 3, "followup": 10, "nonrandomized": 3}
_MONTHS = {"baseline": 0, "month06": 6, "month6": 6, "month09": 9, "month12": 12, "month18": 18}
# fmt: off
STUDIES = (
    Study("shhs", r"shhs(?P<visit>[12])-(?P<id>\d{6})", r"shhs(?P<visit>[12])|shhs",
          ("nsrrid", "pptid", "obf_pptid"), ("visitnumber",), age=("age_s1", "age_s2"),
          bmi=("bmi_s1", "bmi_s2"), sex={"gender": _MALE_1_2}, race={"race": _RACE_3}),
    Study("mesa", r"mesa-sleep-(?P<id>\d{4})", "mesa-sleep", ("mesaid", "nsrrid"),
          age=("sleepage5c",), bmi=("bmi5c",), sex={"gender1": _MALE_1},
          race={"race1c": {1: _WHITE, 2: _ASIAN, 3: _BLACK, 4: "hispanic"}}),
    Study("mros", r"mros-visit(?P<visit>[12])-(?P<id>[a-z]{2}\d{4})", r"mros-visit(?P<visit>[12])",
          visit=("visit",), age=("vsage1", "vs2age1"), bmi=("hwbmi",), sex={"gender": _MALE_2_1},
          race={"gierace": {1: _WHITE, 2: _BLACK, 3: _ASIAN, 4: "hispanic", 5: "other"}}),
    Study("cfs", r"cfs-visit(?P<visit>\d)-(?P<id>\d{6})", r"cfs-visit(?P<visit>\d)",
          ("nsrrid", "obf_pptid"), ("rectype",), sex={"male": _MALE_1, "sex": _MALE_1},
          race={"race": _RACE_3}),
    Study("wsc", r"wsc-visit(?P<visit>\d)-(?P<id>\d{5})", "wsc", ("wsc_id",), ("wsc_vst",),
          sex={"sex": _LETTERS},
          race={"race": {0: _ASIAN, 1: _BLACK, 2: "hispanic", 3: _NATIVE, 5: _WHITE}}),
    Study("chat", r"chat-(?:baseline-)?(?P<visit>baseline|followup|nonrandomized)-(?P<id>\d{6})",
          r"chat-(?P<visit>baseline|followup|nonrandomized)", ("nsrrid", "obf_pptid"), ("vnum",),
          _CHAT_VISITS, ("child_age", "ageyear_at_meas", "age_nr"), ("bmi",),
          {"male": _MALE_1, "chi2": _MALE_1_2, "ref9": _MALE_1_2}, {"race3": _RACE_3}),
    Study("sof", r"sof-visit-(?P<visit>\d)-(?P<id>\d{5})", r"sof-visit-(?P<visit>\d)",
          ("sofid", "nsrrid"), age=("v8age",), bmi=("v8bmi",),
          sex={"gender": _MALE_0}, race={"race": {1: _WHITE, 2: _BLACK}}),
    Study("hchs", r"hchs-sol-(?:sueno-)?(?P<id>\d{8})", r"hchs-sol(?:-baseline)?", ("pid",),
          sex={"gendernum": _MALE_1},
          race={"race": {1: _NATIVE, 2: _ASIAN, 3: _PACIFIC, 4: _BLACK, 5: _WHITE,
                         6: "multiple", 7: "unknown"}}),
    # the codes of race changed between releases of ABC, the harmonized table has words
    Study("abc", r"abc-(?P<visit>baseline|month09|month18)-(?P<id>\d{6})",
          r"abc-(?P<visit>baseline|month09|month18)|abc", visit=("visitnumber",), visits=_MONTHS,
          sex={"gender": _MALE_1_2}),
    Study("heartbeat", r"heartbeat-(?P<visit>baseline|followup)-(?P<id>\d{6})",
          r"heartbeat-(?P<visit>baseline|followup)", ("nsrrid", "obf_pptid"), ("timepoint",),
          {"baseline": 2, "followup": 7}, ("calc_age",), sex={"male": _MALE_1},
          race={"race3": _RACE_3}, seen=False),
    Study("bestair",
          r"bestair-(?P<visit>baseline|month0?6|month12|followup|nonrandomized)-(?P<id>\d{6})",
          r"bestair-(?P<visit>baseline|month6|month12)", visit=("visitnumber",), visits=_MONTHS,
          sex={"gender": _MALE_1_2}, race={"race": _RACE_7}),
    Study("homepap", r"homepap-(?:lab-full|lab-split|home)-(?P<id>\d{7})", "homepap-baseline",
          race={"race3": _RACE_3}),
    Study("ccshs", r"ccshs-trec-(?P<id>\d{7})", "ccshs-trec", ("nsrrid", "obf_pptid"),
          sex={"male": _MALE_1}, race={"race3": _RACE_3}),
    Study("apples", r"apples-(?P<id>\d{6})", "apples", ("nsrrid", "appleid", "fileid"), ("visitn",),
          usual_visit="1", seen=False),
    Study("pats", r"pats-(?P<id>\d{6})-(?P<visit>baseline|followup)", "pats", ("nsrrid",),
          seen=False),
    Study("stages", r"(?P<id>(?:BOGN|GSBB|GSDV|GSLH|GSSA|GSSW|MAYO|MSMI|MSNF|MSQW|MSTH|MSTR|STLK|"
          r"STNF)\d{5})", "stages", ("subject_code",)),
    Study("nchsdb", r"(?P<id>\d{1,5})_\d{1,5}", "nchsdb", ("study_pat_id",), age=(),
          sex={"pcori_gender_cd": _LETTERS}),
)
# fmt: on
# names that would fit anybody's files count only in a folder of the study
_NEEDS_FOLDER = ("nchsdb", "stages")
_SLEEP_EDF = re.compile(r"(SC4|ST7)(\d\d)\d[A-Z]\d(-PSG)?")
_BIDS = re.compile(r"(?P<subject>sub-[A-Za-z0-9]+)(?:_ses-(?P<visit>[A-Za-z0-9]+))?(?:_.*)?")
_VISIT = re.compile(
    r"(?P<study>[a-z][a-z0-9]*)-(?P<visit>baseline|follow-?up\d*|(?:visit|month|year)-?\d+)"
    r"-(?P<subject>[a-z]{0,3}\d{3,})(?:[-_].*)?",
    re.IGNORECASE,
)
_NIGHT = re.compile(
    r"(?P<subject>(?!psg|eeg|edf|rec|sleep|data)[^\W_].*?)[-_ ]+(?:night|visit|session|ses)[-_ ]*"
    r"(?P<visit>\d+)(?:[-_ ](?:psg|eeg|edf|sleep))?",
    re.IGNORECASE,
)
_BY_NAME = {study.name: study for study in STUDIES}
_NIGHTS = {s.name: re.compile(s.night + r"(?:[-_].*)?", re.IGNORECASE) for s in STUDIES}
_VERSION = re.compile(r"[-_]v?\d+(\.\d+)*(\.?(pre|rc|beta)\d*)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Identity:
    """The subject of a night, its visit and study where the file's name states them."""

    subject: str
    visit: str | None = None
    study: str | None = None
    participant: str | None = None  # as tables have it, without the study
    known: bool = True  # False if the subject is only the file's name


@lru_cache(maxsize=10_000)
def identify(path: Path) -> Identity:
    """Who a file name means, by the rules of Sleep-EDF, the NSRR and BIDS; else the name.

    The nights of Sleep-EDF share their subject digits (``SC4ssN``), the visits of NSRR cohorts
    their participant (``mros-visit1-aa0001``, ``chat-followup-300001``), the sessions of BIDS their
    ``sub-`` label; elsewhere each file is a subject.
    """
    stem = path.stem
    folders = {part.lower() for part in path.parts[:-1]}
    if match := _SLEEP_EDF.fullmatch(stem):
        return Identity(match[1] + match[2])
    for study in STUDIES:
        match = _NIGHTS[study.name].fullmatch(stem)
        if match and (study.name not in _NEEDS_FOLDER or study.name in folders):
            groups, id = match.groupdict(), match["id"].lower()
            visit = groups.get("visit")
            return Identity(f"{study.name}-{id}", visit and visit.lower(), study.name, id)
    if match := _BIDS.fullmatch(stem):
        return Identity(match["subject"], match["visit"], None, match["subject"][len("sub-") :])
    if match := _VISIT.fullmatch(stem):
        subject = f"{match['study']}-{match['subject']}"
        return Identity(subject, match["visit"], None, match["subject"])
    if match := _NIGHT.fullmatch(stem):
        return Identity(match["subject"], match["visit"], None, match["subject"], known=False)
    return Identity(stem, participant=stem, known=False)


@dataclass(frozen=True, slots=True)
class StudyTable:
    """A table of a study: its covariates by participant and visit."""

    path: Path
    study: Study
    harmonized: bool
    visit: str | None  # of the file's name


def recognize_table(path: Path) -> StudyTable | None:
    """The study that a table is of, by its name; None for any other file."""
    stem = path.stem.lower()
    while (cut := _VERSION.sub("", stem)) != stem:
        stem = cut
    harmonized = "harmonized" in stem
    parts = [part for part in stem.split("-") if part not in ("harmonized", "dataset")]
    if not harmonized and "dataset" not in stem.split("-"):
        return None
    for study in STUDIES:
        if match := re.fullmatch(study.table, "-".join(parts)):
            return StudyTable(path, study, harmonized, match.groupdict().get("visit"))
    return None


def find_tables(folder: Path, studies: Collection[str]) -> list[StudyTable]:
    """The newest tables of these studies in a folder of nights, and in ``datasets`` around it."""
    around = [folder.resolve(), *folder.resolve().parents[:3]]
    files = {file for place in around for file in (place / "datasets").glob("*.csv")}
    files |= {file.resolve() for file in folder.rglob("*.csv")}
    newest: dict[tuple[Any, ...], StudyTable] = {}
    # of copies the one in datasets
    for file in sorted(files, key=lambda f: (_age(f), f.parent.name == "datasets", f)):
        table = recognize_table(file)
        if table is not None and table.study.name in studies:
            newest[table.study.name, table.harmonized, table.visit] = table
    return sorted(newest.values(), key=lambda table: not table.harmonized)


def _age(path: Path) -> list[int]:
    """A key that sorts releases: 0.9.0 before 0.10.0."""
    version = re.match(r"v?(\d+(?:\.\d+)*)", path.stem.rsplit("-", 1)[-1])
    return [int(part) for part in version[1].split(".")] if version else []


def read_covariates(table: StudyTable) -> pd.DataFrame:
    """Columns of a study's table, with ``participant`` and ``visit`` (text or None) in front.

    Of a harmonized table all that are so; of another one age, sex, BMI and race. These four have
    these names, and words for codes.
    """
    study = table.study
    used = {*study.ids, *study.visit, *study.age, *study.bmi, *study.sex, *study.race}
    # of more than a thousand columns in SHHS
    frame = read_table(table.path, lambda name: name in used or name.startswith("nsrr_"))
    frame.columns = [name.lower() for name in frame.columns]
    id_column = next((name for name in study.ids if name in frame.columns), None)
    if id_column is None:
        raise ReadError(
            f"{table.path}: has no column of participants; accepted are {', '.join(study.ids)} for "
            f"{study.name}. Pass the table as metadata= with on=, or move it out of the folder."
        )
    found = pd.DataFrame({"participant": frame[id_column].map(same_key, na_action="ignore")})
    visits = [
        frame[name].map(same_key, na_action="ignore") for name in study.visit if name in frame
    ]
    if table.visit is not None:
        found["visit"] = _visit_key(study, table.visit)
    else:
        found["visit"] = visits[0] if visits else None
    found = found.astype(object).where(found.notna(), None)
    if table.harmonized:
        columns = [name for name in frame.columns if name.startswith("nsrr_")]
        shared = {f"nsrr_{name}": name for name in COVARIATES}
        named = frame[[name for name in columns if name in shared]].rename(columns=shared)
        return _as_categories(pd.concat([found, named, frame[columns]], axis=1))
    for name, sources in (("age", study.age), ("bmi", study.bmi)):
        present = [column for column in sources if column in frame.columns]
        if present:
            found[name] = frame[present].bfill(axis=1).iloc[:, 0]
    for name, coded in (("sex", study.sex), ("race", study.race)):
        column = next((column for column in coded if column in frame.columns), None)
        if column is not None:
            words = {same_key(code): word for code, word in coded[column].items()}
            keys = frame[column].map(same_key, na_action="ignore")
            # a code that is not in the table stays, and is refused where it matters
            found[name] = keys.map(words).where(keys.isin(words), keys)
    return _as_categories(found)


def _as_categories(frame: pd.DataFrame) -> pd.DataFrame:
    """Words as categories, those for unknown as missing in the columns that have our names."""
    for name in ("sex", "race"):
        if name in frame.columns:
            frame[name] = frame[name].where(~frame[name].isin(_NOT_KNOWN))
    words = ["sex", "race", *(name for name in frame.columns if name.startswith("nsrr_"))]
    for name in words:
        if name in frame.columns and not pd.api.types.is_numeric_dtype(frame[name]):
            frame[name] = frame[name].astype("category")
    return frame


def constant_covariates(table: pd.DataFrame) -> pd.DataFrame:
    """Sex and race of each participant whose visits in a table state one of them."""
    names = [name for name in ("sex", "race") if name in table.columns]
    stated = table[["participant", *names]].astype(object).dropna(subset=["participant"])
    groups = stated.groupby("participant", sort=False)[names]
    # first() skips what is missing
    found = groups.first().where(groups.nunique() == 1)
    return found.astype("category").reset_index()


def visit_of(identity: Identity) -> str | None:
    """The visit of a night as the study's tables have it."""
    study = _BY_NAME.get(identity.study or "")
    if study is None:
        return visit_key(identity.visit)
    return study.usual_visit if identity.visit is None else _visit_key(study, identity.visit)


def _visit_key(study: Study, visit: str) -> str:
    return same_key(study.visits.get(visit, visit))
