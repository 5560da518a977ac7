"""The first screen of a run, and all of `training check`: what was read, what is odd about it, what will be done."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from service.model.bundle import Bundle
from service.model.tokenizer import Rules
from training.data.corpus import Corpus, Gathered, draw, gather
from training.data.labels import fold
from training.data.sources import Source
from training.data.split import LEFT_OUT, NAMES, UNLABELLED

Sources = Sequence[tuple[Source, str]]

_LISTED = 3  # texts under two labels that are shown
_SHOWN_CHARACTERS = 60
_IMBALANCE = 0.9


def examine(
    sources: Sources,
    rules: Rules,
    max_tokens: int,
    shares: tuple[float, float, float],
    base: Bundle | None,
    say: Callable[[str], None],
) -> Corpus:
    """Reads `sources` and draws the splits; says a line at a time what was found. Raises DataError.

    `shares` are those of validation, of the test and of the sample; `base` is the bundle to start from.
    """
    validation_share, test_share, sample = shares
    found = gather(sources, rules, sample)
    for line in told(sources, len(found.labels)):
        say(line)
    for line in (*_labels(found), *_texts(found, max_tokens, base), *_copies(found)):
        say(line)
    if base:
        say(_unknown(found, base))
    corpus = draw(found, sources, validation_share, test_share)
    say("what will be done with them")
    for line in _splits(corpus):
        say(f"  {line}")
    return corpus


def told(sources: Sources, rows: int) -> Iterator[str]:
    """What the reader noted, and the rows that it could not use."""
    for source, role in sources:
        yield f"{role}: {source.path}"
        yield from (f"  {line}" for line in source.notes.lines())
    labelled = [source for source, _ in sources if source.labelled]
    seen = set[str]().union(*(source.seen for source in labelled))
    if unknown := labelled[0].labels.unknown(seen) if labelled else []:
        yield f"  --map-labels names labels that are not in the data: {', '.join(unknown)}"
    bad = sum(source.bad.counts.total() for source, _ in sources)
    yield f"rows: {rows:,} read, {bad:,} left out"
    for source, _ in sources:
        yield from (f"  left out: {line}" for line in source.bad.lines())


def _labels(found: Gathered) -> Iterator[str]:
    counts = found.label_counts()
    total = sum(counts.values())
    yield f"labels: {len(counts)}"
    for name, count in sorted(counts.items(), key=lambda item: -item[1])[:20]:
        yield f'  {name}: {count:,} ({count / total:.1%}), for example "{_short(found.examples[name])}"'
    if len(counts) > 20:
        yield f"  and {len(counts) - 20:,} more labels: the right --label-column? --min-reviews N keeps frequent ones"
    alike = defaultdict(list)
    for name in counts:
        alike[fold(name)].append(name)
    for folded, names in alike.items():
        if len(names) > 1:
            told = ", ".join(f"{name} ({counts[name]:,})" for name in names)
            renamed = ",".join(name for name in names if name != folded)
            yield (
                f"  labels that differ in case or blanks alone: {told}: --merge-labels makes them one, as does "
                f"--map-labels {renamed}={folded}"
            )
    numbers = [name for name in counts if name.removeprefix("-").replace(".", "", 1).isdigit()]
    if len(numbers) == len(counts) > 2:
        yield "  each number is a label of its own: --map-labels 1,2=negative 4,5=positive 3= would join and leave out"
    most = max(counts, key=lambda name: counts[name], default="")
    if len(counts) > 1 and counts[most] > _IMBALANCE * total:
        yield f"  imbalance: {counts[most] / total:.1%} are {most}; a model that always says so is right as often"


def _texts(found: Gathered, max_tokens: int, base: Bundle | None) -> Iterator[str]:
    """Lengths and scripts. `max_tokens` is what a network reads, of `base` or of the preset."""
    if not len(found.labels):
        return
    lengths = np.diff(found.offsets)
    half, most = (int(value) for value in np.quantile(lengths, [0.5, 0.9], method="higher"))
    yield (
        f"lengths in tokens: half of the texts have at most {half:,}, nine in ten at most {most:,}, the longest "
        f"{int(lengths.max()):,}; {int((lengths > max_tokens).sum()):,} have more than the {max_tokens:,} that "
        f"{base.name if base else 'a new network'} reads"
    )
    counts = np.bincount(found.token_ids, minlength=len(found.words))
    scripts = Counter[str]()
    for word, count in zip(found.words, counts.tolist(), strict=True):
        scripts[_script(word)] += count
    total = scripts.total()
    yield "scripts: " + ", ".join(f"{name} {count / total:.1%}" for name, count in scripts.most_common(5))


def _copies(found: Gathered) -> Iterator[str]:
    """Rows that repeat a text, and texts under several labels."""
    _, first, text_of = np.unique(found.digests, return_index=True, return_inverse=True)
    if repeated := len(found.digests) - len(first):
        yield f"copies: {repeated:,} rows repeat the text of an earlier one"
    labelled = np.flatnonzero(found.labels >= 0)
    low, high = np.full(len(first), len(found.label_names)), np.full(len(first), -1)
    np.minimum.at(low, text_of[labelled], found.labels[labelled])
    np.maximum.at(high, text_of[labelled], found.labels[labelled])
    torn = np.flatnonzero(low < high)
    if not len(torn):
        return
    yield f"texts under two labels or more: {len(torn):,}"
    torn = torn[np.argsort(first[torn])][:_LISTED]
    for text in torn.tolist():
        counts = Counter(found.label_names[label] for label in found.labels[text_of == text] if label >= 0)
        told = ", ".join(f"{name} {count:,}" for name, count in counts.most_common())
        row = int(first[text])
        yield f'  {found.places[row]}: {told}: "{_short(found.texts[row])}"'


def _unknown(found: Gathered, base: Bundle) -> str:
    known = set(base.tokenizer.vocabulary)
    there = np.array([word in known for word in found.words], bool)
    share = 1 - float(there[found.token_ids].mean()) if len(found.token_ids) else 0.0
    return f"unknown words: {share:.1%} of the tokens are not in the vocabulary of {base.name}"


def _splits(corpus: Corpus) -> Iterator[str]:
    """What the report of the split says, a line a split."""
    for reason, count in corpus.report.items():
        if reason.startswith("left out"):
            yield f"{reason}: {count:,}"
    purposes = ("to learn from", "to choose by", "to judge by")
    for part, purpose in enumerate(purposes):
        rows = corpus.rows(part)
        counts = np.bincount(corpus.labels[rows], minlength=len(corpus.label_names))
        told = ", ".join(f"{name} {count:,}" for name, count in zip(corpus.label_names, counts.tolist(), strict=True))
        yield f"{NAMES[part]}, {purpose}: {len(rows):,} ({told})"
    if count := len(corpus.rows(UNLABELLED)):
        yield f"unlabelled: {count:,}"
    yield f"in no split: {len(corpus.rows(LEFT_OUT)):,}"


def _script(word: str) -> str:
    """The script of a word by its first letter, as Unicode names it."""
    letter = next((character for character in word if character.isalpha()), None)
    if letter is None:
        return "digits and marks"
    name = unicodedata.name(letter, "unnamed").split()[0]
    return "Han" if name == "CJK" else name.capitalize()


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[: _SHOWN_CHARACTERS - 3] + "..."
