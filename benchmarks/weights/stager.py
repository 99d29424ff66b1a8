# SPDX-License-Identifier: BSD-3-Clause
"""The bundled stager: a vote for each sensor by its centred token, and the weights of the votes.

``python -m benchmarks.weights.stager --work DIR [--data DIR] [--out FILE]``

``--data`` is a folder with the public sets sleep-accel, slpdb, Sleep-EDF and DREAMS as
``sleep-accel/``, ``slpdb/``, ``sleep-edfx/sleep-cassette/`` and ``dreams/``; those that are not
there are left out, and without ``--data`` all nights are simulated. Tokens are kept in ``--work``.
Subjects are dealt to folds, and the votes on those of a fold are of sensors trained on the others.
Such votes give the weights as well, and for the scores of a fold those on subjects of the others.
The head that is written was trained on all subjects, and its card lists them. Each run with real
nights is a look at their labels, and adds a line to ``LOOKS.md``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from tqdm.auto import tqdm

from sleep2vec_sklearn import load_checkpoint, make_sleep_cohort, read_recording
from sleep2vec_sklearn.datasets import load_dreams, load_sleep_accel, load_slpdb
from sleep2vec_sklearn.encoding._engine import EncodedNight, Engine
from sleep2vec_sklearn.encoding._sleep2vec import as_encoder
from sleep2vec_sklearn.evaluation import staging_report
from sleep2vec_sklearn.finetuning._stage_head import (
    STAGES,
    SensorVote,
    StageHead,
    relate_to_night,
    save_stage_head,
    standardise,
)
from sleep2vec_sklearn.model.checkpoint import Checkpoint
from sleep2vec_sklearn.recordings import Recording

from ..evaluation.ledger import add_to_ledger
from ..evaluation.scores import as_markdown

# epochs: recordings of more than twelve hours are cut to half an hour around sleep
LONGEST_NIGHT, AROUND_SLEEP = 1440, 60
SITE_KINDS = ("full_laboratory", "laboratory", "watch_laboratory", "home", "wearable")
# not that of the nights the encoder was pretrained on
SEED = 20261130
SIMULATED = "simulated"


@dataclass(frozen=True)
class Epochs:
    """Scored epochs, and the tokens of each sensor where it is on, less their night's mean."""

    stages: np.ndarray
    subjects: np.ndarray  # "slpdb/slp01": data set and subject
    nights: np.ndarray  # number of the night
    rows: Mapping[str, np.ndarray]  # by sensor, the epochs it is on in
    tokens: Mapping[str, np.ndarray]  # by sensor, one row for each of these
    deviations: Mapping[str, np.ndarray]  # by sensor, one row for each night

    @property
    def sources(self) -> np.ndarray:
        """Data set of each epoch."""
        return np.array([subject.split("/")[0] for subject in self.subjects])


def encode(recordings: Sequence[Recording], name: str, checkpoint: Checkpoint) -> list[Epochs]:
    """Scored epochs of each night of a data set."""
    encoder = as_encoder(checkpoint)
    engine = Engine(encoder, checkpoint.config.names, 1, find_windows=True)
    nights = []
    with closing(engine.encode(recordings, [str(r.id) for r in recordings])) as encoded:
        for night in tqdm(encoded, total=len(recordings), desc=name):
            if night.error is not None:
                raise night.error
            nights.append(_scored(night, recordings[night.position], name))
    return nights


def _scored(night: EncodedNight, recording: Recording, name: str) -> Epochs:
    first, last = _night_of(recording)
    used = np.arange(first, last)[recording.stages[first:last] >= 0]
    related = relate_to_night(night.modalities, night.window)
    on = {sensor: one.valid[used] for sensor, one in night.modalities.items()}
    who = recording.id if recording.subject is None else recording.subject
    return Epochs(
        recording.stages[used], np.full(len(used), f"{name}/{who}"), np.zeros(len(used), dtype=int),
        {sensor: np.flatnonzero(valid) for sensor, valid in on.items()},
        {sensor: related[sensor][0][used][valid] for sensor, valid in on.items()},
        {sensor: related[sensor][1][None].astype(np.float32) for sensor in on},
    )  # fmt: skip


def _night_of(recording: Recording) -> tuple[int, int]:
    if recording.n_epochs <= LONGEST_NIGHT:
        return 0, recording.n_epochs
    asleep = np.flatnonzero(recording.stages > 0)
    return max(asleep[0] - AROUND_SLEEP, 0), asleep[-1] + 1 + AROUND_SLEEP


def join(nights: Sequence[Epochs], sensors: Sequence[str]) -> Epochs:
    """The epochs of all nights, those without any sensor too."""
    lengths = [len(night.stages) for night in nights]
    starts = np.cumsum([0, *lengths])
    rows, tokens, deviations = {}, {}, {}
    for name in sensors:
        having = [number for number, night in enumerate(nights) if name in night.rows]
        if having:
            rows[name] = np.concatenate([nights[i].rows[name] + starts[i] for i in having])
            tokens[name] = np.concatenate([nights[i].tokens[name] for i in having])
            deviations[name] = np.zeros((len(nights), tokens[name].shape[1]), dtype=np.float32)
            deviations[name][having] = np.concatenate([nights[i].deviations[name] for i in having])
    return Epochs(
        np.concatenate([night.stages for night in nights]),
        np.concatenate([night.subjects for night in nights]),
        np.repeat(np.arange(len(nights)), lengths), rows, tokens, deviations,
    )  # fmt: skip


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
    return {
        name: load(data / folder)
        for name, (load, folder) in _LOADERS.items()
        if (data / folder).is_dir()
    }


def _sleep_edf(folder: Path) -> list[Recording]:
    nights = (read_recording(path, derive=False) for path in sorted(folder.glob("*-PSG.edf")))
    return [night.without(*(set(night) - {"eeg", "eog"})) for night in nights]


_LOADERS = {
    "sleep-accel": (load_sleep_accel, "sleep-accel"), "slpdb": (load_slpdb, "slpdb"),
    "sleep-edf": (_sleep_edf, "sleep-edfx/sleep-cassette"), "dreams": (load_dreams, "dreams"),
}  # fmt: skip

N_FOLDS = 6
# simulated subjects that a real one counts as
REAL_WEIGHT: Mapping[str, float] = {SIMULATED: 1.0, "slpdb": 4.0}
OTHER_REAL_WEIGHT = 8.0
# of a class' share: half way to equal shares for the votes, a quarter for their sum, whose rarer
# stages would else hardly be the most probable ones
BALANCE, BALANCE_OF_SUM = 0.5, 0.25
# neighbours in a simulated night teach much the same
EVERY = 4
# inverse strength of the ridge; mild, yet enough for sensors with few real nights
C = 0.003
STEPS = 60


def deal(subjects: np.ndarray) -> np.ndarray:
    """The fold that each epoch is held out in: subjects of each data set are dealt in turn."""
    fold = np.zeros(len(subjects), dtype=int)
    names = np.array(sorted(set(subjects), key=lambda name: (name.split("/")[0], name)))
    np.random.default_rng(0).shuffle(order := np.arange(len(names)))
    sources = [name.split("/")[0] for name in names[order]]
    for number, index in enumerate(order[np.argsort(sources, kind="stable")]):
        fold[subjects == names[index]] = number % N_FOLDS
    return fold


def weights_of(epochs: Epochs) -> np.ndarray:
    """Weight of each epoch: a real subject counts as several simulated ones, however long."""
    _, who, counts = np.unique(epochs.subjects, return_inverse=True, return_counts=True)
    weights = [REAL_WEIGHT.get(source, OTHER_REAL_WEIGHT) for source in epochs.sources]
    return np.array(weights) * counts.mean() / counts[who]


def fit_vote(
    tokens: np.ndarray, deviations: np.ndarray, stages: np.ndarray, weights: np.ndarray
) -> SensorVote:
    """Logistic regression of one sensor; classes are half balanced."""
    scale = np.sqrt(np.average(np.square(tokens), axis=0, weights=weights))
    scale = np.maximum(scale, 1e-6).astype(np.float32)
    share = np.bincount(stages, weights, len(STAGES)) / weights.sum()
    weights = weights * np.maximum(share, 1e-3)[stages] ** -BALANCE
    prior = np.bincount(stages, weights, len(STAGES)) / weights.sum()
    model = LogisticRegression(C=C, max_iter=300, tol=1e-3)
    model.fit(standardise(tokens, deviations, scale), stages, weights / weights.mean())
    weight = np.zeros((tokens.shape[1], len(STAGES)), dtype=np.float32)
    bias = np.zeros(len(STAGES), dtype=np.float32)
    weight[:, model.classes_] = model.coef_.T
    # less what the shares of the classes say, or votes that add up would say it several times
    bias[model.classes_] = model.intercept_ - np.log(prior[model.classes_])
    return SensorVote(scale, weight, bias)


def fit_votes(epochs: Epochs, among: np.ndarray) -> dict[str, SensorVote]:
    """A vote for each sensor, trained on the epochs of the mask ``among``."""
    is_simulated, votes = epochs.sources == SIMULATED, {}
    weights = weights_of(epochs) * np.where(is_simulated, EVERY, 1)
    thin = ~is_simulated | (np.arange(len(among)) % EVERY == 0)
    for name, rows in epochs.rows.items():
        used = (among & thin)[rows]
        stages = epochs.stages[rows[used]].astype(int)
        if len(np.unique(stages)) > 2:
            tokens, deviations = epochs.tokens[name][used], epochs.deviations[name]
            nights = epochs.nights[rows[used]]
            votes[name] = fit_vote(tokens, deviations[nights], stages, weights[rows[used]])
    return votes


def cast(votes: Mapping[str, SensorVote], epochs: Epochs, out: np.ndarray, among: np.ndarray):
    """Write the votes on the epochs of a mask to ``out``, (n, n_sensors, 5)."""
    for place, (name, rows) in enumerate(epochs.rows.items()):
        if name in votes:
            mine = among[rows]
            deviations = epochs.deviations[name][epochs.nights[rows[mine]]]
            out[rows[mine], place] = votes[name](epochs.tokens[name][mine], deviations)


def fit_combination(
    votes: np.ndarray, stages: np.ndarray, weights: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, float]:
    """Trust, level and power that give the least log loss over random subsets of the sensors."""
    rng = np.random.default_rng(seed)
    on = np.isfinite(votes[..., 0])
    kept = torch.from_numpy(drop(on[on.any(axis=1)], rng)).float()
    votes, stages, weights = (column[on.any(axis=1)] for column in (votes, stages, weights))
    cast_votes = torch.from_numpy(np.nan_to_num(votes)).float()
    share = np.bincount(stages, weights, len(STAGES)) / weights.sum()
    weights = weights * np.maximum(share, 1e-3)[stages] ** -BALANCE_OF_SUM
    target, weight = torch.from_numpy(stages.astype(int)), torch.from_numpy(weights).float()
    log_trust = torch.full((votes.shape[1],), -1.0, requires_grad=True)
    level, power = torch.zeros(5, requires_grad=True), torch.zeros(1, requires_grad=True)
    parameters = [log_trust, level, power]
    optimiser = torch.optim.LBFGS(parameters, max_iter=STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        trust = kept * log_trust.exp()
        pooled = torch.einsum("nm,nmk->nk", trust, cast_votes)
        logits = level + pooled / trust.sum(1, keepdim=True) ** power.sigmoid()
        losses = torch.nn.functional.cross_entropy(logits, target, reduction="none")
        # a sensor that nights of this kind lack keeps an ordinary trust
        value = (weight * losses).sum() / weight.sum() + 1e-3 * (log_trust + 1).square().mean()
        value.backward()
        return value

    optimiser.step(loss)
    with torch.no_grad():
        return log_trust.exp().numpy(), level.numpy().copy(), float(power.sigmoid())


def drop(on: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A subset of the sensors of each epoch, of any size, never none."""
    kept = on & (rng.random(on.shape) < rng.random((len(on), 1)))
    lost = np.flatnonzero(~kept.any(axis=1))
    kept[lost, (on[lost] * rng.random((len(lost), on.shape[1]))).argmax(axis=1)] = True
    return kept


def train(epochs: Epochs, sha256: str) -> tuple[StageHead, np.ndarray, dict[int, StageHead]]:
    """The head, the votes on subjects held out, and a head for the scores of each fold.

    Votes on the subjects of a fold, and the weights that are used on them, are made without their
    labels but for one thing: other folds' votes, which the weights are fitted to.
    """
    fold, weights = deal(epochs.subjects), weights_of(epochs)
    held_out = np.full((len(fold), len(epochs.rows), len(STAGES)), np.nan, dtype=np.float32)
    for number in range(N_FOLDS):
        cast(fit_votes(epochs, fold != number), epochs, held_out, fold == number)

    def combined(votes: Mapping[str, SensorVote], among: np.ndarray) -> StageHead:
        found = fit_combination(held_out[among], epochs.stages[among], weights[among])
        return StageHead(votes, *found, sha256)

    final = fit_votes(epochs, np.ones(len(fold), dtype=bool))
    heads = {number: combined(final, fold != number) for number in range(N_FOLDS)}
    return combined(final, fold >= 0), held_out, heads


SUBSETS: Mapping[str, Sequence[tuple[str, ...]]] = {
    SIMULATED: [(), ("eeg",), ("eeg", "eog", "emg"), ("eog",), ("emg",), ("ecg",), ("ibi",),
                ("ibi", "actigraphy"), ("airflow", "effort", "spo2"), ("ppg",), ("actigraphy",)],
    "sleep-accel": [("ibi", "actigraphy"), ("ibi",), ("actigraphy",)],
    "slpdb": [()],
    "sleep-edf": [("eeg", "eog"), ("eeg",), ("eog",)],
    "dreams": [(), ("eeg",)],
}  # fmt: skip


def measure(
    epochs: Epochs, held_out: np.ndarray, heads: Mapping[int, StageHead], n_resamples: int = 1000
) -> pd.DataFrame:
    """Scores of subjects held out, by data set and sensors: agreement and calibration."""
    fold, sources, sensors = deal(epochs.subjects), epochs.sources, [*epochs.rows]
    rows = []
    for source in dict.fromkeys(sources):
        for subset in SUBSETS[source]:
            used = [i for i, name in enumerate(sensors) if not subset or name in subset]
            on = np.isfinite(held_out[:, used, 0])
            # a subset's scores are of epochs that have all of it
            there = np.flatnonzero((sources == source) & (on.all(1) if subset else on.any(1)))
            if len(there) == 0 or len(used) < len(subset):
                continue
            probability = np.empty((len(there), len(STAGES)))
            for number, head in heads.items():
                mine = fold[there] == number
                votes = np.full((mine.sum(), *held_out.shape[1:]), np.nan)
                votes[:, used] = held_out[there[mine]][:, used]
                probability[mine] = head.combine(votes)[0]
            rows.append(
                {"nights": source, "sensors": "+".join(subset) or "all"}
                | _scores(epochs.stages[there], probability, epochs.subjects[there], n_resamples)
            )
    return pd.DataFrame(rows)


def _scores(
    stages: np.ndarray, probability: np.ndarray, subjects: np.ndarray, n_resamples: int
) -> dict[str, float]:
    row: dict[str, float] = {}
    for n_classes in (5, 4, 3):
        report = staging_report(
            stages, probability.argmax(axis=1), groups=subjects, recordings=subjects,
            n_classes=n_classes, n_resamples=n_resamples,
        )  # fmt: skip
        kappa = report.scores.loc["kappa"]
        row |= {
            f"kappa{n_classes}": kappa["value"], f"low{n_classes}": kappa["low"],
            f"high{n_classes}": kappa["high"],
        }  # fmt: skip
    row["log_loss"] = -np.log(np.maximum(probability[np.arange(len(stages)), stages], 1e-9)).mean()
    certain = probability.max(axis=1)
    row["over_certain"] = certain.mean() - (probability.argmax(axis=1) == stages).mean()
    return row | {"subjects": len(set(subjects)), "epochs": len(stages)}


def card_of(epochs: Epochs, scores: pd.DataFrame) -> dict:
    """What the head saw, and how good it is, for the file and for who reads it."""
    people: dict[str, list[str]] = {}
    for name in sorted(set(epochs.subjects)):
        people.setdefault(name.split("/")[0], []).append(name)
    columns = ["nights", "sensors", "kappa5", "low5", "high5", "log_loss", "subjects"]
    rounded = scores[columns].round(3).astype(object)
    return {
        "what": "five stages from the tokens of sleep2vec-mini; not a medical device",
        "simulated_nights": len(people.pop(SIMULATED, [])),
        "real_people": people,
        "held_out": rounded.where(rounded.notna(), None).to_dict(orient="records"),
        "held_out_by": f"{N_FOLDS} folds of subjects, by sensors trained on those of the others",
        "selection": "every evaluation on real labels is listed in benchmarks/evaluation/LOOKS.md; "
        "heads before this one were chosen by about twenty looks at SC4001, DREAMS and subjects of "
        "sleep-accel, so figures on these are a little optimistic",
        "made_by": "python -m benchmarks.weights.stager",
    }


def load_epochs(options: argparse.Namespace, checkpoint: Checkpoint) -> Epochs:
    """The epochs of all nights, kept in the folder of ``--work``."""
    groups = {SIMULATED: simulated_nights(options.subjects, hours=options.hours)}
    if options.data is not None:
        groups |= real_nights(options.data)
    nights = []
    for name, recordings in groups.items():
        path = options.work / f"{name}-{len(recordings)}-{checkpoint.sha256[:12]}.joblib"
        if not path.exists():
            joblib.dump(encode(recordings, name, checkpoint), path)
        nights += joblib.load(path)
    return join(nights, checkpoint.config.names)


def main(arguments: Sequence[str] | None = None) -> None:
    """Encode, measure in folds, train on all, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--work", type=Path, required=True, help="folder for tokens and scores")
    parser.add_argument("--out", type=Path, help="file of the head; only measured without")
    parser.add_argument("--checkpoint", default="sleep2vec-mini", help="encoder, or its file")
    parser.add_argument("--subjects", type=int, default=120, help="simulated subjects")
    parser.add_argument("--hours", type=float, default=8.0, help="length of a simulated night")
    parser.add_argument("--note", default="as bundled", help="what is tried, for LOOKS.md")
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    checkpoint = load_checkpoint(options.checkpoint)
    epochs = load_epochs(options, checkpoint)
    head, held_out, heads = train(epochs, checkpoint.sha256)
    scores = measure(epochs, held_out, heads)
    scores.to_csv(options.work / "scores.csv", index=False, float_format="%.4f")
    print(as_markdown(scores))
    trust = [f"{name} {value:.1f}" for name, value in zip(head.votes, head.trust, strict=True)]
    print("trust", ", ".join(trust), f"power {head.power:.2f} level", head.level.round(2))
    for source, table in scores[scores["nights"] != SIMULATED].groupby("nights"):
        kappas = dict(zip(table["sensors"], table["kappa5"], strict=True))
        variant = f"stager, {options.note}; encoder {checkpoint.sha256[:7]}; kappa by sensors"
        add_to_ledger(source, variant, kappas)
    if options.out is not None:
        save_stage_head(options.out, replace(head, card=card_of(epochs, scores)))
        print(options.out, options.out.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
