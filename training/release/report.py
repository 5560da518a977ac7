"""Everything that the model card shows, measured through the classifier and kept in `figures/report.json`."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from service.model import bundle
from service.model.bundle import Bundle, Manifest
from service.model.classifier import Classifier
from training.data.corpus import Corpus, Labelled, text_digest
from training.data.sources import DataError
from training.data.split import TEST, VALIDATION
from training.evaluation import evaluate, faithfulness, negation, robustness
from training.release import card, findings
from training.release import figures as pictures

SPLITS = {"validation": VALIDATION, "test": TEST}
_FILE = "figures/report.json"
# Enough for a fall of a point to show. Occlusion runs the network once for every token: some hundred times as dear.
_ROBUSTNESS_REVIEWS, _FAITHFULNESS_REVIEWS = 5_000, 1_000


def measure(
    classifier: Classifier, reviews: Sequence[Labelled], split: str, neutral: Sequence[str] = ()
) -> dict[str, Any]:
    """Every figure of one of SPLITS: on all of its `reviews`, or where that is dear on a fixed choice of them.

    Of its `neutral` texts, which have no label, it is told how many are flagged. Robustness is measured on the first
    data set, the whole reviews; evidence on each.
    """
    answers = evaluate.ask(classifier, reviews)
    manifest = classifier.manifest
    of_kind = {kind: [r for r in reviews if evaluate.kind_of(r.source) == kind] for kind in answers.kinds}
    evidence = {}
    for kind, some in of_kind.items():
        few = min(_FAITHFULNESS_REVIEWS, max(20, len(some) // 25))
        evidence[kind or "reviews"] = faithfulness.report(classifier, [review.text for review in _chosen(some, few)])
    figures = evaluate.report(answers, manifest.labels, manifest.temperature, manifest.uncertain_below)
    found = {
        **of_figures(figures),
        "robustness": robustness.report(classifier, _chosen(of_kind[answers.kinds[0]], _ROBUSTNESS_REVIEWS)),
        "negation": negation.report(classifier, negation.read(negation.SETS[split])),
        "evidence": {kind: report for kind, report in evidence.items() if report},
    }
    if neutral:
        flagged = [
            answer.uncertain for answer in evaluate.judge(classifier, list(map(classifier.tokenizer.encode, neutral)))
        ]
        found["neutral"] = {"texts": len(flagged), "flagged": sum(flagged) / len(flagged)}
    return _plain(found)


def of_figures(figures: dict[str, Any]) -> dict[str, Any]:
    """The part of what `measure` gives that follows from the answers alone."""
    return _plain({"figures": figures, "reliability": figures["reliability"], "coverage": figures["coverage"]})


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(json.dumps(found)))  # the same whether it was just measured or read again


def _chosen(reviews: Sequence[Labelled], count: int) -> list[Labelled]:
    """The `count` reviews with the least digests: the same in any order."""
    return sorted(reviews, key=lambda review: text_digest(review.text))[:count]


def files(manifest: Manifest, measured: Mapping[str, Any], readings: Sequence[str]) -> dict[str, bytes]:
    """The card, its pictures and its figures, by their names in the bundle; `measured` as `contents` gives it."""
    splits, stated = measured["splits"], manifest.training.get("stated_rate")
    found = {
        "README.md": card.render(manifest, measured, list(readings)).encode(),
        _FILE: (json.dumps(measured, indent=1, ensure_ascii=False) + "\n").encode(),
        "figures/reliability.png": pictures.reliability(splits, f"{manifest.name}: reliability"),
        "figures/coverage.png": pictures.coverage(splits, stated, f"{manifest.name}: what is not flagged"),
    }
    if by_label := {name: split for name, split in splits.items() if "by_label" in split["figures"]}:
        found["figures/confusion.png"] = pictures.confusion(by_label, f"{manifest.name}: which label for which")
    if len(ladder := manifest.training.get("ladder", {})) > 1:
        reviews = manifest.metrics["validation"]["reviews"]
        found["figures/ladder.png"] = pictures.ladder(ladder, reviews, f"{manifest.name}: what each stage is worth")
    if deletions := findings.by_kind(splits):
        found["figures/evidence.png"] = pictures.deletion(deletions, f"{manifest.name}: what is left of the score")
    return found


def contents(classifier: Classifier, splits: Mapping[str, Any]) -> dict[str, Any]:
    """What `figures/report.json` holds: figures by split, and of which model they are."""
    return {"model": _digest(classifier.bundle), "odd_texts": robustness.odd_texts(classifier), "splits": dict(splits)}


def _digest(found: Bundle) -> str:
    return hashlib.sha256(found.model).hexdigest()


def renew(found: Bundle, corpus: Corpus, with_test: bool, why: str) -> None:
    """Measures the splits of `corpus`, drawn as the bundle's run drew them, and writes card and pictures to it.

    The manifest, whose digest is the bundle's name, gets only figures that it lacks: those of a test split that the run
    left unread. Without `with_test` that is left unread here, too: what the folder holds of it stays. So does what it
    holds of validation where the network has read that and the figures are from folds. Raises DataError.
    """
    manifest = found.manifest
    names = [*(() if "folds" in manifest.training else ("validation",)), *(("test",) if with_test else ())]
    for name in names:
        count = sum(1 for _ in corpus.held_out(SPLITS[name]))
        expected = manifest.metrics.get(name, {}).get("reviews", count)
        if corpus.label_names != manifest.labels or count != expected or not count:
            raise DataError(
                f"expected the data that {found.path} was made from, with {expected or 'some'} {name} reviews of the "
                f"labels {', '.join(manifest.labels)}; found {count} of {', '.join(corpus.label_names)}"
            )
    classifier, readings = Classifier(found, "cpu"), card.readings(found.path)
    path = found.path / _FILE
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    splits = kept["splits"] if kept.get("model") == _digest(found) else {}
    if "folds" in manifest.training and "validation" not in splits:
        raise DataError(
            f"{path}: expected the figures of the run's folds, found none: only the run can measure them, run it again"
        )
    for name in names:
        split = SPLITS[name]
        splits[name] = measure(classifier, list(corpus.held_out(split)), name, corpus.neutral(split))
    if with_test:
        readings.append(card.reading(splits["test"]["figures"], why))
    metrics = {name: split["figures"] for name, split in splits.items()} | manifest.metrics
    manifest = manifest.model_copy(update={"metrics": metrics})
    written = files(manifest, contents(classifier, splits), readings)
    if metrics != found.manifest.metrics:
        written[bundle.MANIFEST] = bundle.in_json(manifest)
    for name, data in written.items():
        path = found.path / name
        path.parent.mkdir(exist_ok=True)
        path.with_name(path.name + ".new").write_bytes(data)
        path.with_name(path.name + ".new").replace(path)  # a kill in the middle of a write leaves the manifest whole
