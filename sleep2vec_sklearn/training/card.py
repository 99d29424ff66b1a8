# SPDX-License-Identifier: BSD-3-Clause
"""The model card of a pretrained encoder: what it learned from, and how."""

from __future__ import annotations

from ..signals import EPOCH_SECONDS
from .material import Material
from .parameters import describe_parameters

__all__ = ["make_card", "summarise_nights"]


def summarise_nights(material: Material) -> dict:
    """How much there was of what, in the nights that trained; no name of anybody."""
    table = material.store.table
    hours = {
        name: round(float(table[f"coverage_{name}"].sum()) * EPOCH_SECONDS / 3600, 1)
        for name in material.modalities
    }
    ages = material.demography.age
    known = ages[ages == ages]
    sexes = material.demography.sex
    return {
        "recordings": len(table),
        "subjects": int(table["subject"].nunique()),
        "sites": int(table["site"].nunique()),
        "hours": round(float(table["n_epochs"].sum()) * EPOCH_SECONDS / 3600, 1),
        "hours_by_modality": hours,
        "recordings_by_pair": {"-".join(p): len(pool) for p, pool in material.pools.items()},
        "age": {
            "known": len(known),
            "mean": round(float(known.mean()), 1) if len(known) else None,
        },
        "female": int((sexes == 0).sum()),
        "male": int((sexes == 1).sum()),
        "held_out_recordings": len(material.held_out),
    }


def make_card(pretrainer) -> dict:
    """The card of a fitted pretrainer."""
    net = pretrainer.net_
    last = {k: v for k, v in net.history[-1].items() if k != "batches"} if net.history else {}
    parameters = describe_parameters(pretrainer)
    if not isinstance(pretrainer.validation, int | float | None):
        # names of subjects are not for everybody who gets the file
        parameters["validation"] = f"{len(pretrainer.validation)} subjects by name"
    measured = {k: v for k, v in last.items() if isinstance(v, int | float) and v == v}
    return {
        "made_by": "sleep2vec_sklearn.Sleep2VecPretrainer",
        "paper": "arXiv 2602.13857",
        "training_data": pretrainer._data_summary,
        "parameters": parameters,
        "seed": pretrainer.seed_,
        "steps": net.step_,
        "precision": pretrainer.precision_,
        "n_parameters": sum(p.numel() for p in net.module_.network.parameters()),
        "last_epoch": measured,
    }
