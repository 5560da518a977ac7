"""Everything that the model card shows, measured through the classifier and kept in `figures/report.json`."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from service.model.bundle import MODEL, Bundle, Manifest
from service.model.classifier import Classifier
from training.data.corpus import build, held_out, text_digest
from training.data.sources import DataError, Source
from training.data.split import TEST, VALIDATION
from training.evaluation import calibration, evaluate, faithfulness, negation, robustness
from training.release import card, figures

Labelled = tuple[str, int, int]  # text, label, rating

SPLITS = {"validation": VALIDATION, "test": TEST}
_FILE = "figures/report.json"
# Enough for a fall of a point to show. Occlusion runs the network once for every token: some hundred times as dear.
_ROBUSTNESS_REVIEWS, _FAITHFULNESS_REVIEWS = 5_000, 1_000


def measure(classifier: Classifier, reviews: Iterable[Labelled], split: str) -> dict[str, Any]:
    """Every figure of one of SPLITS: on all of its `reviews`, or where that is dear on a fixed choice of them."""
    chosen: list[tuple[int, Labelled]] = []
    answers = evaluate.ask(classifier, choosing(reviews, _ROBUSTNESS_REVIEWS, chosen))
    manifest, count = classifier.manifest, len(answers.labels)
    few = [text for _, (text, _, _) in chosen[: min(_FAITHFULNESS_REVIEWS, max(20, count // 25))]]
    found = {
        "figures": evaluate.report(answers, manifest.temperature, manifest.uncertain_below),
        "reliability": calibration.reliability(answers.score, answers.right),
        "coverage": calibration.coverage(answers.score, answers.right),
        "robustness": robustness.report(classifier, [review for _, review in chosen]),
        "negation": negation.report(classifier, negation.read(negation.SETS[split])),
        "evidence": faithfulness.report(classifier, few),
    }
    return dict(json.loads(json.dumps(found)))  # the same whether it was just measured or read again


def choosing(reviews: Iterable[Labelled], count: int, chosen: list[tuple[int, Labelled]]) -> Iterator[Labelled]:
    """Passes `reviews` on and leaves in `chosen` the `count` of them with the least digests: the same in any order."""
    for review in reviews:
        chosen.append((text_digest(review[0]), review))
        if len(chosen) == 2 * count:
            chosen[:] = sorted(chosen)[:count]
        yield review
    chosen[:] = sorted(chosen)[:count]


def files(manifest: Manifest, measured: Mapping[str, Any], readings: Sequence[str]) -> dict[str, bytes]:
    """The card, its pictures and its figures, by their names in the bundle; `measured` as `contents` gives it."""
    splits, stated = measured["splits"], manifest.training.get("stated_rate")
    found = {
        "README.md": card.render(manifest, measured, list(readings)).encode(),
        _FILE: (json.dumps(measured, indent=1, ensure_ascii=False) + "\n").encode(),
        "figures/reliability.png": figures.reliability(splits, f"{manifest.name}: reliability"),
        "figures/coverage.png": figures.coverage(splits, stated, f"{manifest.name}: what is not flagged"),
    }
    if len(ladder := manifest.training.get("ladder", {})) > 1:
        reviews = manifest.metrics["validation"]["reviews"]
        found["figures/ladder.png"] = figures.ladder(ladder, reviews, f"{manifest.name}: what each stage is worth")
    if deletions := {name: split["evidence"] for name, split in splits.items() if split["evidence"]}:
        found["figures/evidence.png"] = figures.deletion(deletions, f"{manifest.name}: what is left of the score")
    return found


def contents(classifier: Classifier, splits: Mapping[str, Any]) -> dict[str, Any]:
    """What `figures/report.json` holds: figures by split, and of which model they are."""
    return {"model": _model(classifier.manifest), "odd_texts": robustness.odd_texts(classifier), "splits": dict(splits)}


def _model(manifest: Manifest) -> str:
    return manifest.files[MODEL].sha256


def renew(found: Bundle, sources: Sequence[tuple[Source, str]], with_test: bool, why: str) -> None:
    """Measures the splits that the bundle's run drew from `sources`, and writes card and pictures into its folder.

    Without `with_test` the test split is left unread: what the folder holds of it stays. Raises DataError.
    """
    manifest, training = found.manifest, found.manifest.training
    shares = (training["recipe"]["validation_share"], training["test_share"], training["sample"])
    corpus = build(sources, manifest.rules, *shares)
    names = list(SPLITS) if with_test else ["validation"]
    for name in names:
        count = len(corpus.rows(SPLITS[name]))
        expected = manifest.metrics.get(name, {}).get("reviews", count)
        if corpus.label_names != manifest.labels or count != expected or not count:
            raise DataError(
                f"expected the data that {found.path} was made from, with {expected or 'some'} {name} reviews of the "
                f"labels {', '.join(manifest.labels)}; found {count} of {', '.join(corpus.label_names)}"
            )
    classifier, readings = Classifier(found, "cpu"), card.readings(found.path)
    path = found.path / _FILE
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    splits = kept["splits"] if kept.get("model") == _model(manifest) else {}
    for name in names:
        splits[name] = measure(classifier, held_out(sources, corpus, SPLITS[name], training["sample"]), name)
    if with_test:
        readings.append(card.reading(splits["test"]["figures"], why))
    for name, data in files(manifest, contents(classifier, splits), readings).items():
        (found.path / name).parent.mkdir(exist_ok=True)
        (found.path / name).write_bytes(data)
