"""The teacher that has read much: a pretrained encoder, fine-tuned on all sources, then asked about their texts.

What a killed run has done is found again in the folder of the teacher. No test split is read by the teacher; test texts
are read only to keep their copies out of what it learns from and labels.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.data import mixture, short_texts
from training.data.fdu_mtl import ProductReviews
from training.data.mixture import LABELS, TRAIN, UNLABELLED, VALIDATION, Example, Mixture
from training.data.sources import DataError, Source
from training.data.treebank import Treebank
from training.recipe import encoder_labels, encoder_network
from training.recipe.encoder_fit import Plan, Stop, fit
from training.recipe.encoder_measure import machine, measured
from training.recipe.recipes import Mixing


@dataclass(frozen=True)
class Run:
    """The data sets, and the folder in which the teacher and its logits are kept."""

    out: Path
    imdb: Path | None
    treebank: Path | None
    products: Path | None
    leave_out: tuple[str, ...]
    sample: float
    device: torch.device

    @property
    def teacher(self) -> Path:
        """Where the fitted teacher stands."""
        return self.out / "teacher"

    @cached_property
    def mixture(self) -> Mixture:
        """The sources, read once. Raises DataError."""
        if not (self.imdb or self.treebank or self.products):
            raise DataError("expected --data, --treebank or --products, found none: name at least one source")
        found = mixture.build(
            Source(self.imdb) if self.imdb else None,
            Treebank(self.treebank) if self.treebank else None,
            ProductReviews(self.products, self.leave_out) if self.products else None,
            sample=self.sample,
        )
        for what, count in found.report.items():
            say(f"data: {what}: {count:,}")
        return found


@dataclass(frozen=True)
class Labels:
    """What the teacher says."""

    logits: dict[int, NDArray[np.float32]]  # [label], by the text's key
    short_texts: list[short_texts.ShortText]
    fitted: dict[str, Any]  # how the teacher was made, and what it is worth on validation
    folder: Path  # of the teacher

    def load(self) -> tuple[encoder_network.Teacher, Any]:
        """The teacher and its tokenizer. Raises DataError."""
        return encoder_network.load(self.folder, len(LABELS))


def say(line: str) -> None:
    """Prints a line of progress with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def fit_teacher(
    run: Run,
    stop: Stop,
    encoder: str,
    phrases: int,
    imdb_reviews: int | None = None,
    seed: int = 1,
    save_minutes: float = 10.0,
) -> None:
    """Writes `run.teacher`, if it is not there: the encoder, fine-tuned for one epoch. Raises DataError, Stopped.

    One phrase of the treebank in `phrases` is shown, and `imdb_reviews` film reviews (None: all). A teacher that is
    there and was fitted otherwise is refused: it would pass for one of this recipe.
    """
    plan = Plan(seed=seed)
    recipe = {"encoder": Path(encoder).name, "phrases": phrases, "imdb_reviews": imdb_reviews, "plan": asdict(plan)}
    if run.teacher.exists():
        made = json.loads((run.teacher / "fit.json").read_text(encoding="utf-8"))
        if other := [f"{name} {made.get(name)}" for name, value in recipe.items() if made.get(name) != value]:
            raise DataError(
                f"{run.teacher}: expected a teacher fitted with {', '.join(f'{n} {v}' for n, v in recipe.items())}, "
                f"found {', '.join(other)}: remove {run.out}, or name another folder with --teacher"
            )
        say(f"fit: {run.teacher} is there already")
        return
    teacher, tokenizer = encoder_network.open_encoder(encoder, len(LABELS), seed)
    shown = lessons(run.mixture.of(TRAIN), phrases, imdb_reviews)
    counts = {f"{e.source} {e.kind}": 0 for e in shown}
    for example in shown:
        counts[f"{example.source} {example.kind}"] += 1
    say(f"fit: shows {', '.join(f'{count:,} of {name}' for name, count in counts.items())}")
    positive = np.array([example.target for example in shown], np.float32)
    targets = np.stack([1 - positive, positive], axis=1)  # [text, label]
    pieces = encoder_network.read_pieces([example.text for example in shown], tokenizer)
    identity = hashlib.sha256(pieces.ids.tobytes() + targets.tobytes())
    for weights in teacher.state_dict().values():
        identity.update(weights.numpy().tobytes())
    noted = fit(
        teacher,
        pieces,
        targets,
        plan,
        run.out / "checkpoint.pt",
        identity.hexdigest(),
        stop,
        say,
        run.device,
        60 * save_minutes,
    )
    aside = run.out / "teacher.new"
    shutil.rmtree(aside, ignore_errors=True)
    encoder_network.save(teacher.cpu(), tokenizer, aside)
    told = {"labels": LABELS, "shown": counts, "left_out": run.leave_out, "machine": machine(run.device)}
    _write_json(aside / "fit.json", recipe | told | noted)
    aside.replace(run.teacher)
    (run.out / "checkpoint.pt").unlink()
    say(f"fit: done in {noted['seconds'] / 60:.0f} minutes, mean loss {noted['mean_loss']:.3f}; {run.teacher}")


def lessons(train: Sequence[Example], phrases: int, imdb_reviews: int | None) -> list[Example]:
    """What is shown of train: one phrase in `phrases`, `imdb_reviews` film reviews, all the rest; chosen by key."""
    films = sorted(example.key for example in train if example.source == "imdb")
    last = films[:imdb_reviews][-1] if films else 0
    return [
        example
        for example in train
        if (example.source != "imdb" or example.key <= last)
        and (example.kind != "phrase" or example.key % phrases == 0)
    ]


def label_texts(run: Run, stop: Stop, most: int = 400_000) -> Labels:
    """Writes what is missing of the logits in `run.out`, and returns them all. Raises DataError, Stopped.

    They are those of validation, of at most `most` short texts, and of all reviews that may be learned from.
    """
    teacher, tokenizer = encoder_network.load(run.teacher, len(LABELS))
    _same_teacher(run)
    found = run.mixture

    def label(name: str, texts: Sequence[str], keys: Sequence[int]) -> None:
        encoder_labels.label(teacher, tokenizer, texts, keys, run.out / "logits" / name, stop, say, run.device)

    held = _judged(found)
    label("validation", [example.text for example in held], [example.key for example in held])
    _measure(run, held)
    chosen = _short_texts(run.out / "logits" / "short.jsonl", found, most)
    label("short", [text.text for text in chosen], [text.key for text in chosen])
    reviews = [example for example in found.of(TRAIN, UNLABELLED) if example.kind == "review"]
    label("reviews", [example.text for example in reviews], [example.key for example in reviews])
    say(f"label: done; {run.out / 'logits'}")
    logits: dict[int, NDArray[np.float32]] = {}
    for name, keys in (
        ("validation", [example.key for example in held]),
        ("short", [text.key for text in chosen]),
        ("reviews", [example.key for example in reviews]),
    ):
        logits.update(zip(keys, encoder_labels.read(run.out / "logits" / name, keys), strict=True))
    fitted = json.loads((run.out / "validation.json").read_text(encoding="utf-8"))
    return Labels(logits, chosen, fitted, run.teacher)


def teach(run: Run, encoder: str, mixing: Mixing) -> Labels:
    """Fits `encoder` and lets it label; finds what is there already in `run.out`. Raises DataError, Stopped."""
    run.out.mkdir(parents=True, exist_ok=True)
    stop = Stop()
    with stop.heeded():
        fit_teacher(run, stop, encoder, mixing.phrases, mixing.film_reviews)
        return label_texts(run, stop, mixing.short_texts)


def _judged(found: Mixture) -> list[Example]:
    """Validation's whole texts."""
    return [example for example in found.of(VALIDATION) if example.kind != "phrase"]


def _measure(run: Run, held: Sequence[Example]) -> None:
    logits = encoder_labels.read(run.out / "logits" / "validation", [example.key for example in held])
    figures = measured(held, logits)
    for source, of_source in figures["sources"].items():
        say(f"validation: {source}: accuracy {of_source['accuracy']:.2%} of {of_source['texts']:,}")
    say(f"validation: mean of the sources {figures['mean_of_sources']:.2%}")
    fitted = json.loads((run.teacher / "fit.json").read_text(encoding="utf-8"))
    _write_json(run.out / "validation.json", figures | {"teacher": fitted, "machine": machine(run.device)})


def _short_texts(path: Path, found: Mixture, most: int) -> list[short_texts.ShortText]:
    """The short texts that are labelled: chosen once and kept in `path`, so that the logits stay theirs."""
    if path.exists():
        say(f"label: {path} is there already and kept")
    else:
        chosen = short_texts.choose(found, most)
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(path.name + ".new")
        aside.write_text("".join(json.dumps(text, ensure_ascii=False) + "\n" for text in chosen), encoding="utf-8")
        aside.replace(path)
    with path.open(encoding="utf-8") as lines:
        return [short_texts.ShortText(*json.loads(line)) for line in lines]


def _same_teacher(run: Run) -> None:
    """Raises DataError where logits that are there are another teacher's, or it was kept from other domains."""
    left_out = json.loads((run.teacher / "fit.json").read_text(encoding="utf-8"))["left_out"]
    if sorted(left_out) != sorted(run.leave_out):
        raise DataError(
            f"{run.teacher}: expected --leave-out {','.join(left_out) or 'with no domain'}, as it was fitted with, "
            f"found {','.join(run.leave_out) or 'no domain'}: give that, or fit another teacher in another --out"
        )
    # The way of reading belongs to it: logits of texts that were cut are others.
    digest = f"{encoder_labels.digest_of(run.teacher)}, windows of {encoder_network.MAX_PIECES}"
    note = run.out / "logits" / "teacher.sha256"
    note.parent.mkdir(parents=True, exist_ok=True)
    if note.exists() and note.read_text().strip() != digest:
        raise DataError(
            f"{note.parent}: expected logits of {run.teacher}, found those of another teacher, or of another version "
            "of Ovation: remove the folder"
        )
    note.write_text(digest + "\n")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    aside = path.with_name(path.name + ".new")
    aside.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    aside.replace(path)
