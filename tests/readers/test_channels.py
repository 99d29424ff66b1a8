# SPDX-License-Identifier: BSD-3-Clause
"""Whole label lists of public cohorts, with what must be picked from them.

The lists are those of the public montage pages of the National Sleep Research Resource (the
repositories ``*-documentation`` of https://github.com/nsrr) and of Sleep-EDF on PhysioNet."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sleep2vec_sklearn.readers._channels import classify_label, compact_label, parse_dimension
from sleep2vec_sklearn.readers._montage import Channel, pick_montage
from sleep2vec_sklearn.recordings import MODALITIES

SHHS = "EEG(sec):125 ECG:125 EMG:125 EOG(L):50 EOG(R):50 EEG:125 AIRFLOW:10 THOR_RES:10 "


# fmt: off
COHORTS = {
    "Sleep-EDF cassette": (
        "EEG_Fpz-Cz:100 EEG_Pz-Oz:100 EOG_horizontal:100 Resp_oro-nasal:1 EMG_submental:1 "
        "Temp_rectal:1 Event_marker:1",
        {"eeg": "EEG Fpz-Cz", "eog": "EOG horizontal"},
    ),
    "Sleep-EDF telemetry": (
        "EEG_Fpz-Cz:100 EEG_Pz-Oz:100 EOG_horizontal:100 EMG_submental:100 Marker:10",
        {"eeg": "EEG Fpz-Cz", "eog": "EOG horizontal", "emg": "EMG submental"},
    ),
    "SHHS1": (
        f"SaO2:1 H.R.:1 {SHHS}ABDO_RES:10 POSITION:1 LIGHT:1 NEW_AIR:10 SOUND:10 OX_stat:1",
        {"eeg": "EEG", "eog": "EOG(L)", "emg": "EMG", "ecg": "ECG", "airflow": "NEW AIR",
         "effort": "THOR RES", "spo2": "SaO2"},
    ),
    "SHHS2": (
        f"SaO2:1 PR:1 {SHHS.replace('ECG:125', 'ECG:250')}ABDO_RES:10 POSITION:1 LIGHT:1 OX_STAT:1",
        {"eeg": "EEG", "eog": "EOG(L)", "emg": "EMG", "ecg": "ECG", "airflow": "AIRFLOW",
         "effort": "THOR RES", "spo2": "SaO2"},
    ),
    "MESA": (
        "EKG:256 EOG-L:256 EOG-R:256 EMG:256 EEG1:256 EEG2:256 EEG3:256 Pres:32 Flow:32 Snore:32 "
        "Thor:32 Abdo:32 Leg:32 Therm:32 Pos:32 EKG_Off:1 EOG-L_Off:1 EOG-R_Off:1 EMG_Off:1 "
        "EEG1_Off:1 EEG2_Off:1 EEG3_Off:1 Pleth:256 OxStatus:1 SpO2:1 HR:1 DHR:256 Aux_AC:32",
        {"eeg": "EEG3", "eog": "EOG-L", "emg": "EMG", "ecg": "EKG", "airflow": "Flow",
         "effort": "Thor", "spo2": "SpO2", "ppg": "Pleth"},
    ),
    "MrOS visit 1": (
        "Position:4 Leg_L:64 Leg_R:64 C3:256 C4:256 A1:256 A2:256 ROC:256 LOC:256 ECG_L:512 "
        "ECG_R:512 L_Chin:256 R_Chin:256 Airflow:16 SUM:16 Thoracic:16 Abdominal:16 STAT:1 HR:1 "
        "SAO2:1 Cannula_Flow:64 DHR:16",
        {"eeg": "C4 - A1", "eog": "LOC - A2", "emg": "L Chin - R Chin", "ecg": "ECG L - ECG R",
         "airflow": "Cannula Flow", "effort": "Thoracic", "spo2": "SAO2"},
    ),
    "MrOS visit 2": (
        "C3:256 C4:256 M1:256 M2:256 E1:256 E2:256 ECGL:512 ECGR:512 LChin:256 RChin:256 LegL:64 "
        "LegR:64 Airflow:32 CannulaFlow:32 Chest:32 ABD:32 SUM:32 SpO2:1 HR:1 STAT:1 Position:1 "
        "DHR:1 CH37:1",
        {"eeg": "C4 - M1", "eog": "E1 - M2", "emg": "LChin - RChin", "ecg": "ECGL - ECGR",
         "airflow": "CannulaFlow", "effort": "Chest", "spo2": "SpO2"},
    ),
    "WSC, Comet": (
        "E1:200 E2:200 F3_M2:200 Fz_M2:200 Cz_M2:200 C3_M2:200 Pz_M2:200 O1_M2:200 cchin_l:200 "
        "lleg_r:200 ECG:200 snore:200 flow:200 nas_pres:200 thorax:200 abdomen:200 sum:200 "
        "position:200 spo2:200",
        {"eeg": "C3_M2", "eog": "E1", "emg": "cchin_l", "ecg": "ECG", "airflow": "nas_pres",
         "effort": "thorax", "spo2": "spo2"},
    ),
    "WSC, Heritage": (
        "E1:100 E2:100 C3_M2:100 O1_M2:100 chin:100 lleg_r:100 snore:100 ECG:100 nasalflow:100 "
        "oralflow:100 nas_pres:100 thorax:100 abdomen:100 sum:100 position:100 spo2:100",
        {"eeg": "C3_M2", "eog": "E1", "emg": "chin", "ecg": "ECG", "airflow": "nas_pres",
         "effort": "thorax", "spo2": "spo2"},
    ),
    "CFS": (
        "C3:128 C4:128 M1:128 M2:128 LOC:128 ROC:128 ECG2:256 ECG1:256 EMG1:256 EMG2:256 EMG3:256 "
        "L_Leg:64 R_Leg:64 AIRFLOW:32 THOR_EFFORT:32 ABDO_EFFORT:32 SNORE:256 SUM:32 POSITION:1 "
        "OX_STATUS:1 PULSE:1 SpO2:1 NASAL_PRES:64 PlethWV:128 Light:1 HRate:1",
        {"eeg": "C4 - M1", "eog": "LOC - M2", "emg": "EMG1 - EMG2", "ecg": "ECG1 - ECG2",
         "airflow": "NASAL PRES", "effort": "THOR EFFORT", "spo2": "SpO2", "ppg": "PlethWV"},
    ),
    "MASS": (
        "EOG_Upper_Vertic:256 EOG_Right_Horiz:256 EOG_Left_Horiz:256 EEG_A2-CLE:256 EEG_O2-CLE:256 "
        "EEG_Fp1-CLE:256 EEG_C4-CLE:256 EMG_Ant_Tibial_L:256 EMG_Chin1:256 EMG_Chin2:256 "
        "ECG_ECGI:256 Resp_Thermistor:256 Resp_Belt_Thor:256 Resp_Belt_Abdo:256 SaO2_SaO2:256",
        {"eeg": "EEG C4-CLE", "eog": "EOG Left Horiz", "emg": "EMG Chin1", "ecg": "ECG ECGI",
         "airflow": "Resp Thermistor", "effort": "Resp Belt Thor", "spo2": "SaO2 SaO2"},
    ),
    "DREAMS": (
        "O1-A1:50 EMG1:50 ECG:50 NAF1:50 VAB:50 VTH:50 C3-A1:50 FP1-A1:50 EOG2-A1:50 EOG1-A1:50 "
        "POS:50 PHONO:50 SAO2:50 PR:50 PULSE:50 hypnogram:1 event_pneumo:1 hypnogram_aut:1 "
        "event_pneumo_aut:1 event_neuro:1",
        {"eeg": "C3-A1", "eog": "EOG1-A1", "emg": "EMG1", "airflow": "NAF1", "effort": "VTH",
         "spo2": "SAO2"},
    ),
}
# fmt: on
# The underscore stands for a space in the lists above, save where the cohort itself writes one.
UNDERSCORED = ("_Off", "Aux_AC", "_M2", "cchin_l", "lleg_r", "nas_pres", "event_", "hypnogram_")


def channels_of(text):
    pairs = [item.rsplit(":", 1) for item in text.split()]
    return [
        Channel(
            i, label if any(u in label for u in UNDERSCORED) else label.replace("_", " "), float(r)
        )
        for i, (label, r) in enumerate(pairs)
    ]


@pytest.mark.parametrize("cohort", COHORTS)
def test_cohort_labels_give_picks(cohort):
    text, expected = COHORTS[cohort]
    montage = pick_montage(channels_of(text))
    assert {name: d.label for name, d in montage.derivations.items()} == expected


@pytest.mark.parametrize("cohort", COHORTS)
def test_cohort_labels_are_known(cohort):
    montage = pick_montage(channels_of(COHORTS[cohort][0]))
    assert all(why and "unknown" not in why for _, _, why in montage.reasons)


@pytest.mark.parametrize(
    "label",
    ["EEG C3-A2", "C3-M2", "c3:m2", "C3/M2", "C3M2", "EEG_C3-EEG_M2", "EEG C3-A2 ", "EEG C3.M2"],
)
def test_derivation_spellings_agree(label):
    alias = classify_label(label)
    assert (alias.modality, alias.electrode) == ("eeg", "c3")
    assert alias.rank == classify_label("C3-M2").rank


@pytest.mark.parametrize(
    ("modality", "labels"),
    [("eeg", "EEG(sec), Fp1, EEG Fpz-Cz 100Hz, C4-(M1+M2), EEG C3-Ref, EEG1"),
     ("emg", "EEG Chin1-Chin2, EMG C, EMG Kinn li, EMG subm., EMG-Ref"),
     ("emg", "Chin-Ref, Chin 1 - Chin 2 (EMG), Kinn-EMG"), ("eeg", "C4-A1 (uV), C3 M2 filt"),
     ("eog", "EOG L-R, EOG RT"),
     ("eog", "EOG links, EOG gauche, EOG izq, LOC, E2-M1, LEOG-M2, EOGl:M2, E1-E2"),
     ("emg", "EMG Kinn, EMG menton, EMG mentón, Chin1-Chin2, EMG_CHIN1-CHIN2, EMG+"),
     ("ecg", "EKG, ECG II, ECG V2, EKG1-EKG2, ECG modified"),
     ("airflow", "Flow Patient, NasalPressure, Nasal/OralTherm, Débit, Flujo nasal, PTAF"),
     ("airflow", "Pressure Flow, Flow DC, TFlow, Flow (nasal pressure), Flusso, Pneumoflow"),
     ("effort", "Effort THO, Tórax, Bauch, RIB CAGE, RIP Abdom, Resp Thorax, Brust"),
     ("effort", "Thor. Eff, Inductance Abdom, Addome, Thorax Effort DC, Resp. Effort"),
     ("spo2", "SaO2, SpO2-BB_EG, Sättigung, OSAT, SaO2 SpO2, Saturação, "
      "Oxygen Saturation, Sauerstoffsättigung"),
     ("ppg", "Pleth, PPG, Plethysmogram, SpO2 Pleth, SpO2 PPG, SaO2Wave, Pulse Wave, PlethWV"),
     ("ibi", "IBI, RR interval"),
     ("actigraphy", "Actigraphy, activity counts"), ("resp", "RESP, Respiration")],
)  # fmt: skip
def test_hospital_spellings_are_known(modality, labels):
    found = {label: classify_label(label).modality for label in labels.split(", ")}
    assert set(found.values()) == {modality}, found


@pytest.mark.parametrize(
    ("label", "word"),
    [("HR", "not beat-to-beat"), ("Pulse Rate", "not beat-to-beat"), ("Körperlage", "position"),
     ("Schnarchen", "snoring"), ("EMG LAT1-LAT2", "leg"), ("Bein li", "leg"),
     ("EtCO2", "carbon dioxide"), ("Temp rectal", "temperature"), ("OX STATUS", "oximeter status"),
     ("A2", "reference"), ("Acc X", "raw acceleration"), ("xyzzy", "unknown label"),
     *((label, "a rate or interval of beats") for label in
       ("SpO2 Pulse", "SpO2 Rate", "Oximetry Pulse", "SaO2_BPM", "Pleth Rate", "PPG-HR", "ECG HR",
        "EKG Rate", "ECGHR", "ECG II HR", "ECG RR", "EKG RRI", "ECG Tachogram")),
     ("SpO2 Desat", "computed from the signal"), ("SpO2 Perf. Index", "computed from"),
     ("EEG C3 Power", "computed from"), ("EEG C3-M2 Quality", "sensor check"),
     *((f"EMG {leg}", "leg muscle") for leg in
       ("Leg L", "L legs", "TA", "LTA", "Tib. ant.", "calf", "Wade", "gamba")),
     ("EEG LLEG+-LLEG-", "leg muscle"), ("SpO2 Alarm", "computed from"),
     ("Pleth Amplitude", "computed from"), ("ECG ST", "computed from"),
     ("ECG Resp", "computed from"),
     ("Actigraph Light", "computed from"),
     ("Thermometer", "unknown label"), ("EMG vastus", "not known"), ("EMG RL", "not known"),
     ("SpO2 Min", "computed from"),
     ("EMG trapezius", "other than the chin"),
     *((ear, "reference") for ear in
       ("EEG A2-CLE", "A1-LER", "EEG M1-Ref", "EEG CLE", "EEG LM", "EEG A1-A2"))],
)  # fmt: skip
def test_unused_channels_say_why(label, word):
    alias = classify_label(label)
    assert alias.modality is None
    assert word in alias.why


def test_compact_labels_are_plain():
    assert compact_label(" Körper-Lage_(°) ") == "korperlage"


@given(st.text(max_size=30))
def test_any_label_has_a_reason(label):
    alias = classify_label(label)
    assert alias.modality is None or alias.modality in MODALITIES
    assert alias.why


@given(st.sampled_from(["C4-M1", "EOG(L)", "Chin EMG", "THOR RES", "SaO2"]), st.data())
def test_case_and_separators_are_ignored(label, data):
    separator = data.draw(st.sampled_from([" ", "_", ".", "-", "/"]))
    spelled = label.replace("-", separator).replace(" ", separator)
    if data.draw(st.booleans()):
        spelled = spelled.lower()
    assert classify_label(spelled).modality == classify_label(label).modality


@pytest.mark.parametrize("prefix", ["", "EEG ", "eeg_", "EEG-"])
@given(
    electrode=st.sampled_from("C3 C4 Cz F3 F4 Fz Fp1 Fp2 O1 O2 P3 P4 Pz".split()),  # noqa: SIM905
    reference=st.sampled_from("A1 A2 M1 M2".split()),  # noqa: SIM905
    separator=st.sampled_from(["-", ":", "/", " ", "_", ""]),
    shape=st.sampled_from([str.upper, str.lower, str.title]),
)
def test_electrode_pair_spellings_agree(prefix, electrode, reference, separator, shape):
    alias = classify_label(shape(f"{prefix}{electrode}{separator}{reference}"))
    plain = classify_label(f"{electrode}-{reference}")
    assert alias == plain
    assert (alias.electrode, alias.reference) == (electrode.lower(), reference.lower())


@pytest.mark.parametrize(
    "pair",
    [
        ("C4-M1", "C3-M2"), ("C3-M2", "Cz-M1"), ("C4-M1", "C4-M2"), ("C4-M2", "C4-Cz"),
        ("C4-Cz", "C4"), ("C4", "O2-M1"), ("C3-M2", "F4-M1"), ("F4-M1", "P4-M1"),
        ("P4-M1", "O2-M1"), ("LOC", "ROC"), ("E1-M2", "E1"), ("E1", "EOG"), ("ROC", "VEOG"),
        ("Chin", "Chin1"), ("Chin1", "Chin2"), ("Chin2", "EMG 7"), ("ECG II", "ECG"),
        ("ECG", "ECG V5"), ("Nasal Pressure", "Flow"), ("Flow", "Therm"), ("Therm", "CPAP Flow"),
        ("EEG", "EEG(sec)"), ("Thorax", "Abdomen"), ("Abdomen", "Sum"), ("SpO2", "SpO2 BB"),
        ("EEG C4-CLE", "EEG O1-CLE"), ("C3-LER", "EEG"), ("EOG Left Horiz", "EOG Right Horiz"),
        ("EOG Right Horiz", "EOG Upper Vertic"), ("EMG Left", "EMG 7"), ("Pleth", "SpO2 Pleth"),
    ],
    ids="<".join,
)  # fmt: skip
def test_better_channel_ranks_first(pair):
    better, worse = map(classify_label, pair)
    assert better.modality == worse.modality is not None
    assert better.rank < worse.rank


@given(st.sampled_from("A1 A2 M1 M2".split()), st.sampled_from(["", "EEG ", "EOG "]))  # noqa: SIM905
def test_mastoids_are_references(mastoid, prefix):
    alias = classify_label(prefix + mastoid)
    assert (alias.modality, alias.electrode) == (None, mastoid.lower())
    assert alias.why == "a reference electrode"


@pytest.mark.parametrize(
    ("dimension", "modality", "unit"),
    [("uV", "eeg", "uV"), ("µV", "eeg", "uV"), ("Âµv", "eog", "uV"), ("UV", "emg", "uV"),
     ("MV", "ecg", "mV"), (" V ", "eeg", "V"), ("%", "spo2", "%"), ("Percent", "spo2", "%"),
     ("ms", "ibi", "ms"), ("cmH2O", "airflow", "cmH2O"), ("ML", "effort", "a.u."),
     ("", "airflow", "a.u.")],
)  # fmt: skip
def test_dimensions_become_units(dimension, modality, unit):
    assert parse_dimension(dimension, modality) == (unit, None)


@pytest.mark.parametrize("name", MODALITIES)
def test_own_units_are_read(name):
    for unit in MODALITIES[name].units:
        for spelled in (unit, unit.upper(), f" {unit} "):
            assert parse_dimension(spelled, name) == (unit, None)


@pytest.mark.parametrize(
    ("dimension", "name", "unit"),
    [("microvolts", "eeg", "uV"), ("μV", "eeg", "uV"), ("millivolt", "ecg", "mV"),
     ("Volts", "eog", "V"), ("nanovolt", "emg", "nV"), ("% SaO2", "spo2", "%"), ("sec", "ibi", "s"),
     ("msec", "ibi", "ms"), ("beats/min", "ibi", "bpm"), ("cnt", "actigraphy", "counts"),
     ("LPM", "airflow", "L/min"), ("l/sec", "airflow", "L/s"), ("cmH20", "airflow", "cmH2O")],
)  # fmt: skip
def test_unit_spellings_are_known(dimension, name, unit):
    assert parse_dimension(dimension, name) == (unit, None)


@pytest.mark.parametrize(("dimension", "name"), [("%", "eeg"), ("uV", "spo2"), ("mV", "ibi")])
def test_foreign_unit_is_ignored(dimension, name):
    unit, note = parse_dimension(dimension, name)
    assert unit == MODALITIES[name].unit
    assert note == f"states the unit {dimension!r}; taken as {unit}"
