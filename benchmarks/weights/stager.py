# SPDX-License-Identifier: BSD-3-Clause
"""Tokens of nights with stages, each modality relative to its mean over the night.

``python -m benchmarks.weights.stager --data DIR --work DIR --out FILE``

``--data`` is a folder with the public sets sleep-accel, slpdb, Sleep-EDF and DREAMS as
``sleep-accel/``, ``slpdb/``, ``sleep-edfx/sleep-cassette/`` and ``dreams/``; those that are not
there are left out. Tokens are kept in ``--work``. Real people are dealt to six folds; the head of
each fold is trained on simulated nights and on the people of the other five. The head that is
written was trained on all of them, and its card lists them.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.model_selection import GroupKFold
from torch import nn
from tqdm.auto import tqdm

from sleep2vec_sklearn import load_checkpoint, make_sleep_cohort, read_recording
from sleep2vec_sklearn.datasets import load_dreams, load_sleep_accel, load_slpdb
from sleep2vec_sklearn.encoding._engine import Engine
from sleep2vec_sklearn.encoding._sleep2vec import as_encoder
from sleep2vec_sklearn.evaluation import staging_report
from sleep2vec_sklearn.finetuning.stager import STAGES, StageHead, save_stage_head
from sleep2vec_sklearn.recordings import Recording

from ..evaluation.scores import as_markdown

# epochs: recordings of more than twelve hours are cut to half an hour around sleep
LONGEST_NIGHT, AROUND_SLEEP = 1440, 60


@dataclass(frozen=True)
class TokenTable:
    """Scored epochs that have a signal."""

    modalities: tuple[str, ...]
    tokens: np.ndarray
    present: np.ndarray
    stages: np.ndarray
    subjects: np.ndarray

    def __len__(self) -> int:
        return len(self.stages)

    def take(self, rows) -> TokenTable:
        """Those rows."""
        columns = (self.tokens, self.present, self.stages, self.subjects)
        return TokenTable(self.modalities, *(column[rows] for column in columns))


def join(tables: Sequence[TokenTable]) -> TokenTable:
    """Several tables as one."""
    names = ("tokens", "present", "stages", "subjects")
    columns = (np.concatenate([getattr(table, name) for table in tables]) for name in names)
    return TokenTable(tables[0].modalities, *columns)


def kept(path: Path, recordings: Sequence[Recording], name: str) -> TokenTable:
    """The table of these nights; read from a file if there is one, else made and written."""
    if path.exists():
        with np.load(path) as file:
            columns = [file[key] for key in ("tokens", "present", "stages", "subjects")]
            return TokenTable(tuple(file["modalities"].tolist()), *columns)
    table = encode(recordings, name)
    np.savez(path, **{field.name: getattr(table, field.name) for field in fields(table)})
    return table


def encode(recordings: Sequence[Recording], name: str) -> TokenTable:
    """Encode nights with the bundled encoder."""
    checkpoint = load_checkpoint("sleep2vec-mini")
    modalities = tuple(m.name for m in checkpoint.config.modalities)
    engine = Engine(as_encoder(checkpoint), modalities, 1)
    parts = []
    with closing(engine.encode(recordings, [str(r.id) for r in recordings])) as nights:
        for night in tqdm(nights, total=len(recordings), desc=name):
            if night.error is not None:
                raise night.error
            recording = recordings[night.position]
            rows = _rows_of(night, recording, modalities)
            who = recording.id if recording.subject is None else recording.subject
            parts.append(TokenTable(modalities, *rows, np.full(len(rows[2]), f"{name}/{who}")))
    return join(parts)


def _rows_of(night, recording: Recording, modalities: Sequence[str]):
    width = next(iter(night.modalities.values())).tokens.shape[1]
    tokens = np.zeros((recording.n_epochs, len(modalities), width), dtype=np.float16)
    present = np.zeros((recording.n_epochs, len(modalities)), dtype=bool)
    first, last = _night_of(recording)
    for place, name in enumerate(modalities):
        if name not in night.modalities:
            continue
        encoded = night.modalities[name]
        there = encoded.valid.copy()
        there[:first] = there[last:] = False
        if there.any():
            centred = encoded.tokens - encoded.tokens[there].mean(axis=0)
            tokens[:, place] = np.where(there[:, None], centred, 0)
            present[:, place] = there
    used = (recording.stages >= 0) & present.any(axis=1)
    return tokens[used], present[used], recording.stages[used]


def _night_of(recording: Recording) -> tuple[int, int]:
    if recording.n_epochs <= LONGEST_NIGHT:
        return 0, recording.n_epochs
    asleep = np.flatnonzero(recording.stages > 0)
    return max(asleep[0] - AROUND_SLEEP, 0), asleep[-1] + 1 + AROUND_SLEEP


SITE_KINDS = ("full_laboratory", "laboratory", "watch_laboratory", "home", "wearable")
# not that of the nights the encoder was pretrained on
SEED = 20261130
REAL_SETS = ("sleep-accel", "slpdb", "sleep-edf", "dreams")


def simulated_nights(n_subjects: int, *, hours: float = 8.0) -> list[Recording]:
    """One simulated night each, from twenty sites of all kinds."""
    return make_sleep_cohort(
        n_subjects, hours=hours, n_sites=20, site_kinds=SITE_KINDS, missing=0.1, random_state=SEED,
    )  # fmt: skip


def real_nights(data: Path) -> dict[str, Sequence[Recording]]:
    """Real nights with stages by data set; those that are not below ``data`` are left out.

    ucddb is none of them: what is public in one file of it has signal in W and N3 only, and a night
    without the rest has another mean.
    """
    found = {}
    for name in REAL_SETS:
        load, folder = _LOADERS[name]
        if (data / folder).is_dir():
            found[name] = load(data / folder)
    return found


def _sleep_edf(folder: Path) -> list[Recording]:
    nights = (read_recording(path, derive=False) for path in sorted(folder.glob("*-PSG.edf")))
    return [night.without(*(set(night) - {"eeg", "eog"})) for night in nights]


_LOADERS = {
    "sleep-accel": (load_sleep_accel, "sleep-accel"), "slpdb": (load_slpdb, "slpdb"),
    "sleep-edf": (_sleep_edf, "sleep-edfx/sleep-cassette"), "dreams": (load_dreams, "dreams"),
}  # fmt: skip


BATCH = 1024
PASSES = 2
FEWEST_STEPS = 20
RATE = 3e-3
WEIGHT_DECAY = 1e-2
# what a modality's weights may differ from those of all, as a penalty
APART = 0.05
# of a class' share: half way to equal shares
BALANCE = 0.5
# how much more often an epoch of a real night is drawn than one of a simulated night
REAL_WEIGHT: Mapping[str, float] = {"slpdb": 4.0}
OTHER_REAL_WEIGHT = 8.0


def fit_head(tables: Sequence[TokenTable], names: Sequence[str], seed: int = 0) -> StageHead:
    """Fit a head to tables of several data sets.

    Every epoch keeps a random subset of its sensors, so that any subset can be staged.
    """
    rng = np.random.default_rng(seed)
    chance = np.concatenate(
        [np.full(len(t), _weight(name)) for t, name in zip(tables, names, strict=True)]
    )
    chance /= chance.sum()
    owner = np.repeat(np.arange(len(tables)), [len(t) for t in tables])
    place = np.concatenate([np.arange(len(t)) for t in tables])
    spread = _spread(tables)
    votes = _Votes(*tables[0].tokens.shape[1:])
    class_weight = _class_weight(tables, names)
    steps = max(PASSES * (len(owner) // BATCH + 1), FEWEST_STEPS)
    optimiser = torch.optim.AdamW(votes.groups(), RATE, weight_decay=WEIGHT_DECAY)
    rates = [group["lr"] for group in optimiser.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=steps)
    for _ in range(steps):
        drawn = rng.choice(len(owner), BATCH, p=chance)
        tokens, present, stages = _batch(tables, owner[drawn], place[drawn])
        kept = torch.from_numpy(_drop(present, rng))
        logits = votes(torch.from_numpy(tokens / spread), kept)
        loss = nn.functional.cross_entropy(logits, torch.from_numpy(stages), weight=class_weight)
        loss = loss + APART * (votes.own**2).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return votes.as_head(tables[0].modalities, spread)


class _Votes(nn.Module):
    def __init__(self, n_modalities: int, width: int):
        super().__init__()
        self.shared = nn.Parameter(torch.zeros(width, len(STAGES)))
        self.own = nn.Parameter(torch.zeros(n_modalities, width, len(STAGES)))
        self.bias = nn.Parameter(torch.zeros(n_modalities, len(STAGES)))
        self.level = nn.Parameter(torch.zeros(len(STAGES)))
        self.log_trust = nn.Parameter(torch.zeros(n_modalities))

    def groups(self) -> list[dict]:
        """Parameters for the optimiser; trust is of the order of one and not drawn to zero."""
        others = [self.shared, self.own, self.bias, self.level]
        return [
            {"params": others},
            {"params": [self.log_trust], "lr": 3 * RATE, "weight_decay": 0},
        ]

    def forward(self, tokens: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        """Votes of the modalities kept, averaged by trust, of shape (n, 5)."""
        trust = kept * self.log_trust.exp()
        trust = trust / trust.sum(1, keepdim=True)
        tokens = tokens * trust[..., None]
        votes = tokens.sum(1) @ self.shared + torch.einsum("nmh,mho->no", tokens, self.own)
        return self.level + votes + trust @ self.bias

    def as_head(self, modalities: Sequence[str], spread: np.ndarray) -> StageHead:
        """The same votes on tokens as they come from the encoder."""
        with torch.no_grad():
            weight = (self.shared + self.own).numpy() / spread[..., None]
            bias = (self.level + self.bias).numpy()
            trust = self.log_trust.exp().numpy()
        sha256 = load_checkpoint("sleep2vec-mini").sha256
        return StageHead(tuple(modalities), weight, bias, trust, sha256)


def _weight(name: str) -> float:
    return 1.0 if name == "simulated" else REAL_WEIGHT.get(name, OTHER_REAL_WEIGHT)


def _class_weight(tables: Sequence[TokenTable], names: Sequence[str]) -> torch.Tensor:
    share = sum(
        np.bincount(table.stages, minlength=len(STAGES)) * _weight(name)
        for table, name in zip(tables, names, strict=True)
    )
    return torch.tensor((share.sum() / 5 / np.maximum(share, 1)) ** BALANCE, dtype=torch.float32)


def _spread(tables: Sequence[TokenTable]) -> np.ndarray:
    """Spread of each modality's tokens over all nights."""
    counts = sum(table.present.sum(axis=0) for table in tables)
    squares = sum(
        np.stack(
            [np.square(t.tokens[:, m], dtype=np.float32).sum(axis=0) for m in range(len(counts))]
        )
        for t in tables
    )
    return np.sqrt(squares / np.maximum(counts, 1)[:, None]).astype(np.float32) + 1e-3


def _batch(tables: Sequence[TokenTable], owner: np.ndarray, place: np.ndarray):
    shape = (len(owner), *tables[0].tokens.shape[1:])
    tokens = np.empty(shape, dtype=np.float32)
    present = np.empty(shape[:2], dtype=bool)
    stages = np.empty(len(owner), dtype=np.int64)
    for number, table in enumerate(tables):
        mine = np.flatnonzero(owner == number)
        rows = place[mine]
        tokens[mine] = table.tokens[rows]
        present[mine], stages[mine] = table.present[rows], table.stages[rows]
    return tokens, present, stages


def _drop(present: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A subset of the sensors of each epoch, of any size, never none."""
    kept = present & (rng.random(present.shape) < rng.random((len(present), 1)))
    lost = np.flatnonzero(~kept.any(axis=1))
    kept[lost, (present[lost] * rng.random((len(lost), present.shape[1]))).argmax(axis=1)] = True
    return kept


N_FOLDS = 6
SUBSETS: Mapping[str, Sequence[tuple[str, ...]]] = {
    "simulated": [(), ("eeg",), ("eeg", "eog", "emg"), ("ecg",), ("ibi",), ("ibi", "actigraphy"),
                  ("airflow", "effort", "spo2"), ("actigraphy",)],
    "sleep-accel": [(), ("ibi",), ("actigraphy",)],
    "sleep-edf": [(), ("eeg",), ("eog",)],
    "dreams": [(), ("eeg",)],
}  # fmt: skip


def measure(
    heads: Mapping[int, StageHead], tables: Mapping[str, TokenTable], folds
) -> pd.DataFrame:
    """Scores of people held out, by data set and sensors."""
    rows = []
    for name, table in tables.items():
        for subset in SUBSETS.get(name, [()]):
            part, probability = predict(heads, table, folds[name], subset)
            if len(part) == 0:
                continue
            for n_classes in (5, 4, 3):
                report = staging_report(
                    part.stages, probability.argmax(axis=1), groups=part.subjects,
                    recordings=part.subjects, n_classes=n_classes, n_resamples=1000,
                )  # fmt: skip
                kappa = report.scores.loc["kappa"]
                rows.append({
                    "nights": name, "sensors": "+".join(subset) or "all", "classes": n_classes,
                    "kappa": kappa["value"], "low": kappa["low"], "high": kappa["high"],
                    "subject_mean": kappa["subject_mean"],
                    "accuracy": report.scores.loc["accuracy", "value"],
                    "macro_f1": report.scores.loc["macro_f1", "value"],
                    "people": len(report.by_subject), "epochs": len(part),
                })  # fmt: skip
    return pd.DataFrame(rows)


def predict(heads, table: TokenTable, fold: np.ndarray, subset: Sequence[str]):
    """Rows that have one of the sensors, and their probabilities by the head of their fold."""
    used = [i for i, name in enumerate(table.modalities) if not subset or name in subset]
    there = np.flatnonzero(table.present[:, used].any(axis=1))
    part, fold = table.take(there), fold[there]
    probability = np.empty((len(part), 5))
    for number in np.unique(fold):
        mine = fold == number
        head = heads[number]
        trust = part.present[mine][:, used] * head.trust[used]
        trust /= trust.sum(axis=1, keepdims=True)
        tokens = part.tokens[mine][:, used].astype(np.float32) * trust[..., None]
        logits = np.einsum("nmh,mho->no", tokens, head.weight[used]) + trust @ head.bias[used]
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        probability[mine] = odds / odds.sum(axis=1, keepdims=True)
    return part, probability


def deal(tables: Mapping[str, TokenTable]) -> dict[str, np.ndarray]:
    """Fold that holds out each row; people of small sets are dealt too."""
    folds = {}
    for place, (name, table) in enumerate(tables.items()):
        n_people = len(set(table.subjects))
        fold = np.full(len(table), place % N_FOLDS)
        if n_people > 1:
            splits = GroupKFold(min(N_FOLDS, n_people)).split(table.subjects, groups=table.subjects)
            for number, (_, test) in enumerate(splits):
                fold[test] = number
        folds[name] = fold
    return folds


def card_of(tables: Mapping[str, TokenTable], scores: pd.DataFrame, n_simulated: int) -> dict:
    """What the head saw, and how good it is, for the file and for who reads it."""
    people = {name: sorted(set(t.subjects.tolist())) for name, t in tables.items()}
    real = {name: who for name, who in people.items() if name != "simulated"}
    columns = ["nights", "sensors", "classes", "kappa", "low", "high", "people"]
    return {
        "what": "five stages from the tokens of sleep2vec-mini; not a medical device",
        "simulated_nights": n_simulated,
        "real_people": real,
        "held_out": _as_records(scores[columns]),
        "held_out_by": f"{N_FOLDS} folds of people; simulated: the last fifth of them, a head "
        "without real nights of anybody held out",
        "selection": "how tokens are centred, how much the sensors' weights have in common, how "
        "unequal their trust may become, and the weight of real nights were chosen by about "
        "twenty looks at SC4001, DREAMS and sleep-accel people, so figures on these are a little "
        "optimistic",
        "made_by": "python -m benchmarks.weights.stager",
    }


def _as_records(scores: pd.DataFrame) -> list[dict]:
    """Scores of real nights, and of simulated ones with all sensors; None where there is none."""
    kept = (scores["nights"] != "simulated") | (scores["sensors"] == "all")
    records = scores[kept].round(3).astype(object).where(scores[kept].notna(), None)
    return records.to_dict(orient="records")


def main(arguments: Sequence[str] | None = None) -> None:
    """Encode, measure in folds, train on all, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for tokens and tables")
    parser.add_argument("--out", type=Path, help="file of the head; only measured without")
    parser.add_argument("--subjects", type=int, default=120, help="simulated subjects")
    parser.add_argument("--hours", type=float, default=8.0, help="length of a simulated night")
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    options.work.mkdir(parents=True, exist_ok=True)
    real = {
        name: kept(options.work / f"{name}.npz", nights, name)
        for name, nights in real_nights(options.data).items()
    }
    nights = simulated_nights(options.subjects, hours=options.hours)
    simulated = kept(options.work / f"simulated-{len(nights)}.npz", nights, "simulated")
    people = np.unique(simulated.subjects)
    held_out = np.isin(simulated.subjects, people[-(len(people) // 5) :])
    train, test = simulated.take(~held_out), simulated.take(held_out)
    folds = deal(real)
    heads = {}
    for number in range(N_FOLDS):
        others = [table.take(folds[name] != number) for name, table in real.items()]
        heads[number] = fit_head([train, *others], ["simulated", *real])
    folds["simulated"] = np.zeros(len(test), dtype=int)
    scores = measure(heads, {**real, "simulated": test}, folds)
    scores.to_csv(options.work / "scores.csv", index=False, float_format="%.4f")
    print(as_markdown(scores))
    if options.out is not None:
        tables = {"simulated": simulated, **real}
        head = fit_head([*tables.values()], [*tables])
        save_stage_head(options.out, replace(head, card=card_of(tables, scores, len(people))))
        print(options.out, options.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
