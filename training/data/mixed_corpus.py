"""Several data sets as one corpus."""

from array import array
from collections.abc import Iterable
from itertools import chain
from typing import NamedTuple

import numpy as np

from service.model.tokenizer import SPECIAL, UNKNOWN, Rules, words
from training.data.corpus import Corpus, Mixed
from training.data.mixture import LABELS, TRAIN, Example, Mixture
from training.data.short_texts import ShortText
from training.data.split import NAMES, UNLABELLED
from training.data.texts import Texts

_NAMES = {"imdb": "imdb", "treebank": "sst", "fdu-mtl": "fdu-mtl"}


class _Row(NamedTuple):
    text: str
    label: int
    target: float
    split: int
    source: str
    key: int
    short: bool
    rating: int


def build(mixture: Mixture, short_texts: Iterable[ShortText], rules: Rules) -> Corpus:
    """The examples of `mixture`, then those of `short_texts` that were cut from reviews, which have no label.

    Phrases of held-out sentences stay out: whole sentences are what is judged.
    """
    token_ids, offsets, vocabulary, texts = array("i"), array("q", [0]), dict[str, int](), Texts()
    names: dict[str, int] = {}
    sources, rows = array("h"), []
    examples = (_of_example(e) for e in mixture.examples if e.kind != "phrase" or e.split == TRAIN)
    cut = (_of_short_text(text) for text in short_texts if text.kind == "cut")
    for row in chain(examples, cut):
        found = words(row.text, rules) or [SPECIAL[UNKNOWN]]
        token_ids.extend([vocabulary.setdefault(word, len(vocabulary)) for word in found])
        offsets.append(len(token_ids))
        texts.append(row.text)
        sources.append(names.setdefault(row.source, len(names)))
        rows.append(row[1:4] + row[5:])
    labels, targets, splits, keys, short, ratings = zip(*rows, strict=True)
    return Corpus(
        np.frombuffer(token_ids, np.int32),
        np.frombuffer(offsets, np.int64),
        np.array(labels, np.int32),
        np.array(ratings, np.int8),
        np.array(splits, np.int8),
        list(vocabulary),
        texts,
        LABELS,
        mixture.report,
        Mixed(
            tuple(names),
            np.frombuffer(sources, np.int16),
            np.array(targets, np.float32),
            np.array(keys, np.uint64),
            np.array(short, np.bool_),
        ),
    )


def _of_example(example: Example) -> _Row:
    target = np.nan if example.target is None else example.target
    name = _NAMES[example.source] + (f": {example.domain}" if example.domain else "")
    label = -1 if example.label is None else example.label
    part, short = NAMES.index(example.split), example.kind != "review"
    return _Row(example.text, label, target, part, name, example.key, short, example.rating)


def _of_short_text(text: ShortText) -> _Row:
    return _Row(text.text, -1, np.nan, UNLABELLED, _NAMES[text.source], text.key, True, 0)
