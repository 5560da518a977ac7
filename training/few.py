"""A run with few labelled texts: what it starts from, its folds, and the network of all texts."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import softmax
from threadpoolctl import threadpool_limits

from service.model import bundle
from service.model.bundle import Bundle
from service.model.tokenizer import Tokenizer
from training.data.corpus import Corpus
from training.data.split import TRAIN, UNLABELLED, VALIDATION
from training.evaluation.calibration import fit_temperature
from training.evaluation.evaluate import Answers
from training.fitting.checkpoint import RunError
from training.network.bilstm import BiLSTM
from training.recipe import cross_validation, few_texts, last_layer
from training.recipe.cross_validation import Judged
from training.recipe.few_texts import Rows
from training.recipe.recipes import Preset
from training.release import export, folds, onnx_graph

BUNDLED = Path(__file__).parents[1] / "models/reviews-bilstm"
MOST_TEXTS, LEAST_OF_A_LABEL, MOST_LABELS = 5_000, 10, 32
MOST_UNKNOWN = 0.5  # of the tokens; with more, a bundle's reading of words is of no use
_REPEATED_UP_TO, _REPEATS = 1_000, 3  # with more texts, other folds would move the figures little


@dataclass(frozen=True)
class Made:
    """What a run with few texts leaves for publishing."""

    model: BiLSTM  # of all texts
    probe: BiLSTM  # of the training split alone: what is measured on validation is measured with it
    tokenizer: Tokenizer
    judged: Judged
    temperature: float  # at which the judged answers are calibrated
    answers: Answers  # of the first draw of the folds to the train and validation texts, at that temperature


def chosen(corpus: Corpus, preset_name: str, own_validation: bool, is_changed: bool, asked: bool | None) -> bool:
    """Whether a run is one of this kind: as `asked`, or else by the number of labelled texts.

    `is_changed`: options change the recipe, of which there is nothing where a last layer alone is learned. Raises
    RunError where it was asked for and cannot be.
    """
    if corpus.mixed is not None or asked is False:
        return False
    reason = unsuited(corpus)
    if preset_name != "base":
        reason = "another preset than base"
    elif own_validation:
        reason = "a --validation to choose by"
    elif is_changed:
        reason = "options that change how a network is fitted in epochs"
    if asked and reason:
        raise RunError(f"expected few labelled texts for --folds, found {reason}: leave the option away")
    return not reason


def announced(corpus: Corpus, start: str) -> str:
    """The line that tells what a run does with few texts, and why."""
    return (
        f"few labels ({len(_rows(corpus)):,} texts to learn from): figures from folds of train and validation "
        f"together, then a network of all of them, {start} (--no-folds: epochs and a validation split; --from: "
        "another start, or none)"
    )


def unsuited(corpus: Corpus) -> str:
    """Why `corpus` is not for this recipe; "": it is."""
    labels = corpus.labels[_rows(corpus)]
    counts = np.bincount(labels, minlength=len(corpus.label_names))
    if len(labels) > MOST_TEXTS:
        return f"more than {MOST_TEXTS:,} labelled texts"
    if len(corpus.rows(UNLABELLED)):
        return "unlabelled texts to learn from, too"
    if len(counts) > MOST_LABELS:
        return f"more than {MOST_LABELS} labels"
    if rare := _rare_labels(corpus):
        return f"fewer than {LEAST_OF_A_LABEL} texts to learn from of {', '.join(rare)}"
    return ""


def warning(corpus: Corpus) -> str:
    """The line that tells of texts that are few and fitted in epochs for the sake of a rare label; "": they are not."""
    rare = [] if corpus.mixed is not None or len(_rows(corpus)) > MOST_TEXTS else _rare_labels(corpus)
    if not rare:
        return ""
    return (
        f"warning: fewer than {LEAST_OF_A_LABEL} texts to learn from of {', '.join(rare)}: trained in epochs, which "
        f"need many texts; without such labels (--min-reviews, --map-labels {rare[0]}=) there would be folds"
    )


def _rare_labels(corpus: Corpus) -> list[str]:
    counts = np.bincount(corpus.labels[_rows(corpus)], minlength=len(corpus.label_names))
    return [name for name, count in zip(corpus.label_names, counts, strict=True) if count < LEAST_OF_A_LABEL]


def start(asked: Path | None, from_nothing: bool, corpus: Corpus, preset: Preset) -> tuple[Bundle | None, str]:
    """The bundle to start from, and the reason: the one `asked` for, or the one that ships where it is of use.

    Raises BundleError; RunError where most words are unknown to the bundle that was asked for.
    """
    if from_nothing:
        return None, "from nothing, as asked"
    path = asked or BUNDLED
    if asked is None and not (path / bundle.MANIFEST).exists():
        return None, f"from nothing: there is no {path.name}"
    base = bundle.read(path)
    if asked is None and base.manifest.rules != preset.rules:
        return None, f"from nothing: {base.manifest.name} splits words by other rules"
    if unknown_share(corpus, base) > MOST_UNKNOWN:
        if asked is not None:
            raise unknown(path, corpus, base)
        return None, f"from nothing: {_told_unknown(corpus, base)}"
    fit = base.manifest.labels == corpus.label_names
    how = "and whose labels fit" if fit else "and whose reading of words is kept; its labels are others"
    return base, f"from {base.manifest.name}, which reads {base.manifest.max_tokens:,} tokens of a text, {how}"


def unknown_share(corpus: Corpus, base: Bundle) -> float:
    """The share of the corpus' tokens that are not in the vocabulary of `base`."""
    known = set(base.tokenizer.vocabulary)
    there = np.array([word in known for word in corpus.words], bool)
    return 1 - float(there[corpus.token_ids].mean())


def unknown(path: Path | None, corpus: Corpus, base: Bundle) -> RunError:
    """The error of a bundle that was asked for and does not know the words of the data."""
    return RunError(
        f"{path}: expected a bundle that knows most words of the data, found that {_told_unknown(corpus, base)}: start "
        "from nothing with --from none"
    )


def _told_unknown(corpus: Corpus, base: Bundle) -> str:
    return f"{unknown_share(corpus, base):.0%} of the tokens are unknown to {base.manifest.name}"


def make(
    corpus: Corpus, base: Bundle | None, preset: Preset, seed: int, balance: bool, say: Callable[[str], None]
) -> Made:
    """Judges every text by folds, and trains on all of them; with `balance` rare labels count for more."""
    network = _network(base)
    tokenizer = _tokenizer(corpus, base, preset)
    rows = _rows(corpus)
    texts = few_texts.read(corpus, rows, tokenizer, network)
    train = np.flatnonzero(corpus.splits[rows] == TRAIN)
    repeats = _REPEATS if len(rows) <= _REPEATED_UP_TO else 1
    size = len(tokenizer.vocabulary)

    def judge(fitted: Rows, judged: Rows) -> few_texts.Floats:
        return last_layer.fit(texts.at(fitted), seed, balance).logits(texts.at(judged))

    start = None
    if base is not None and base.manifest.labels == corpus.label_names:
        start = texts.pooled[:, -texts.logit_columns :].argmax(axis=1) == texts.labels
    with threadpool_limits(1):  # the systems of equations are small: threads would wait for each other
        judged = cross_validation.run(texts, judge, repeats, seed, say, balance, start)
        model, probe = (last_layer.fit(some, seed, balance).network(network, size) for some in (texts, texts.at(train)))
    temperature = fit_temperature(np.concatenate(judged.logits), np.tile(texts.labels, repeats))
    answers = Answers(
        softmax(judged.logits[0] / temperature, axis=1),
        texts.labels,
        corpus.ratings[rows].astype(np.int64),
        texts.examples.lengths(),
        judged.unknown_share[0],
        np.full(len(rows), ""),
    )
    return Made(model, probe, tokenizer, judged, temperature, answers)


def told(judged: Judged, test_texts: int, base: Bundle | None) -> list[str]:
    """What the folds say, for the screen, and whether less than a run from `base` would do."""
    low, high = judged.interval()
    lines = [
        f"folds: accuracy {judged.accuracy:.2%} on texts that were not read (95 % interval {low:.2%} to {high:.2%})"
    ]
    if test_texts:
        low, high = judged.interval(test_texts)
        lines.append(f"the {test_texts:,} test texts are to be expected between {low:.2%} and {high:.2%}")
    found = judged.report(test_texts)
    for worth, verdict in folds.comparisons(found, base.manifest.name if base else ""):
        lines += [worth, verdict] if verdict else [worth]
    return lines


def _rows(corpus: Corpus) -> Rows:
    rows = corpus.rows(TRAIN, VALIDATION)
    return rows[corpus.labels[rows] >= 0]


def _network(base: Bundle | None) -> BiLSTM | None:
    """The network of `base`. Raises OldGraph; RunError where its last layer does not read pooled states."""
    if base is None:
        return None
    weights = onnx_graph.read(base.model)
    if "hidden_bias" in weights.head:
        raise RunError(
            f"{base.path}: expected a bundle whose last layer reads pooled states, found one that reads last states: "
            "--no-folds starts from it, --from none starts from nothing"
        )
    embedding_size, hidden_size = weights.embedding.shape[1], weights.forward.recurrence.shape[1]
    model = BiLSTM(len(base.tokenizer.vocabulary), embedding_size, hidden_size, len(base.manifest.labels), "pooled")
    export.load_arrays(model, weights)
    return model.eval()


def _tokenizer(corpus: Corpus, base: Bundle | None, preset: Preset) -> Tokenizer:
    """All words of the texts to learn from, after those of `base`."""
    splits = np.where(corpus.splits == VALIDATION, TRAIN, corpus.splits).astype(np.int8)
    words = dataclasses.replace(corpus, splits=splits).vocabulary(preset.vocabulary_size, min_count=1)
    if base is None:
        return Tokenizer(words, preset.max_tokens, preset.truncation, preset.rules)
    known = set(base.tokenizer.vocabulary)
    manifest = base.manifest
    new = [word for word in words if word not in known]
    return Tokenizer([*base.tokenizer.vocabulary, *new], manifest.max_tokens, manifest.truncation, manifest.rules)
