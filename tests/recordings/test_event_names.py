# SPDX-License-Identifier: BSD-3-Clause
"""Scored names in seven languages, and what is not taken for any of them."""

import pytest

from sleep2vec_sklearn.recordings._event_names import EventNames, read_event_name


@pytest.mark.parametrize(
    ("scored", "name", "matches"),
    [
        ("Obstructive apnea|Obstructive Apnea", "apnea", True),
        ("Central Apnoea", "apnea", True),
        ("Hypopnoea", "hypopnea", True),
        ("hypopnea", "apnea", False),
        ("obstructive_apnea_with_arousal", "apnea", True),
        ("obstructive_apnea_with_arousal", "arousal", False),
        ("Hypopnea with an arousal|Hypopnea", "arousal", False),
        ("Arousal|Arousal (ASDA)", "arousal", True),
        ("central_apnea", "obstructive_apnea", False),
        ("SpO2 desaturation|SpO2 desaturation", "desaturation", True),
    ],
)
def test_types_match_by_words(scored, name, matches):
    assert EventNames().are([scored], name).tolist() == [matches]


@pytest.mark.parametrize(
    ("kind", "scored"),
    [
        ("apnea", "Apnea, apneas, Apnoe, Apnée, apneu, Apneia, Apnoen, AP, OA, CA, MA, OSA, "
         "APNEA-O, A. obstr., Ap. obst., OA 2, Zentralapnoe, Gemischte Apnoe, "
         "Apnea ostruttiva, Obst. Apnea"),
        ("hypopnea", "H, Hyp, HYP-C, HYPOP, Hypopnoe, Hypopnée, Ipopnea, Hipopnea, Hipopnéia, "
         "Hypopneu, hypoapnea, Hypopn\ufffde, Hypopnea with arousal, OH"),
        ("arousal", "AR, Arousals, Weckreaktion, Micro-éveil, microéveil, microdespertar, "
         "Réaction d'éveil, éveil bref, "
         "Microrisveglio, EEG arousal, PLM arousal, Arousal (ARO RES)"),
        ("desaturation", "SpO2 desaturation, Desat, Entsättigung, Entsaettigung, Désaturation, "
         "Desaturazione, Dessaturação, desaturatie, O2 drop, Sättigungsabfall, "
         "baisse de saturation"),
        ("limb_movement", "LM, PLM, PLMs, Leg Movement, Limb movement - left, Beinbewegungen, "
         "Beinbew., Leg Mvt, Mouvement de jambe, movimenti degli arti, "
         "Movimiento de piernas, beenbeweging"),
        ("snore", "Snoring, Schnarchen, Ronflement, Russamento, Ronquido, Ronco, Snurken"),
        ("rera", "RERA, Respiratory effort related arousal"),
        ("other", "Lights off, LOff, Lampen uit, SpO2 artifact, Body position: supine, Unsure, "
         "Cheyne Stokes, Flow limitation, Periodic breathing, spindle, Capnography, no apnea, "
         "Artefatto apnea"),
        (None, "Respiratory event, Pause respiratoire, Atempause, apnea arousal, Bezdech, A, x, "
         "呼吸暂停, Hypopnea desaturation, patient stops breathing, Obstructive"),
    ],
)  # fmt: skip
def test_names_say_one_kind(kind, scored):
    found = {name: read_event_name(name).kind for name in scored.split(", ")}
    assert set(found.values()) == {kind}, found


@pytest.mark.parametrize(
    ("scored", "subtype"),
    [("Apnée obstructive", "obstructive"), ("Obs Apnea", "obstructive"), ("ZA", "central"),
     ("Cent. Apnea", "central"), ("Apnea mista", "mixed"), ("apneu gemengd", "mixed")],
)  # fmt: skip
def test_subtypes_are_read(scored, subtype):
    assert EventNames().are([scored], f"{subtype}_apnea").all()


@pytest.mark.parametrize("scored", ["Hypopnea + arousal", "Hypopnoe mit Arousal", "H w/ AR"])
def test_companion_is_no_event(scored):
    assert EventNames().come_with([scored], "arousal").all()
    assert not EventNames().are([scored], "arousal").any()


def test_own_names_extend_table():
    names = EventNames({"Ev. 1": "obstructive_apnea", "Apnea?": None})
    types = ["ev 1", "APNEA", "Ev. 2"]
    assert names.are(types, "apnea").tolist() == [True, False, False]
    assert names.unknown(types).tolist() == [False, False, True]
    assert EventNames(also=["gasp"]).unknown(["gasp", "deep gasp", "x"]).tolist() == [0, 0, 1]


@pytest.mark.parametrize("own", [{"x": "event"}, {"x": 3}, "hypopnea", ["x"]])
def test_meaningless_names_are_refused(own):
    with pytest.raises(ValueError, match="accepted"):
        EventNames(own)
