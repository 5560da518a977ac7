"""Labelled texts that are few enough to be held in matrices, and their folds."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from service.model.tokenizer import UNKNOWN, Tokenizer
from training.data.corpus import Corpus
from training.fitting.examples import Examples
from training.network.bilstm import BiLSTM

Matrix = Any  # a scipy.sparse.csr_matrix
Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

FOLDS = 5
_BATCH = 32


@dataclass(frozen=True)
class FewTexts:
    """Every array has one row a text."""

    examples: Examples  # under their labels
    pooled: Floats  # [text, feature] what the network that a run starts from pools, then its logits; no columns: none
    logit_columns: int  # the last so many of `pooled`
    counted: Matrix  # [text, token]
    grams: Matrix  # [text, n-gram] counts of one and two tokens
    groups: NDArray[np.str_] | None  # equal ones stay in one fold
    read_before: int  # the first so many tokens are known to the network that a run starts from

    @property
    def labels(self) -> Rows:
        """[text]"""
        labels: Rows = self.examples.targets.argmax(axis=1)
        return labels

    @property
    def label_count(self) -> int:
        """How many labels there are."""
        return int(self.examples.targets.shape[1])

    def at(self, rows: Rows) -> "FewTexts":
        """Some of them."""
        groups = None if self.groups is None else self.groups[rows]
        return replace(
            self,
            examples=self.examples.at(rows),
            pooled=self.pooled[rows],
            counted=self.counted[rows],
            grams=self.grams[rows],
            groups=groups,
        )

    def folds(self, seed: int) -> Iterator[tuple[Rows, Rows]]:
        """Yields (rows to fit, rows to judge), each with equal shares of the labels."""
        kind = StratifiedKFold if self.groups is None else StratifiedGroupKFold
        yield from kind(FOLDS, shuffle=True, random_state=seed).split(self.labels, self.labels, self.groups)

    def unknown_share(self, fitted: Rows) -> Floats:
        """[text] the share of each text's tokens that a network of the `fitted` texts does not know."""
        unknown = np.bincount(self.counted[fitted].indices, minlength=self.counted.shape[1]) == 0
        unknown[: self.read_before] = False
        unknown[UNKNOWN] = True
        share: Floats = (self.counted @ unknown.astype(np.float64)) / self.examples.lengths()
        return share


def read(corpus: Corpus, rows: Rows, tokenizer: Tokenizer, base: BiLSTM | None) -> FewTexts:
    """The labelled `rows` of `corpus`; the first tokens of `tokenizer`'s vocabulary are those of the network `base`, in
    evaluation mode."""
    token_ids, offsets = corpus.encode(tokenizer)
    targets = np.eye(len(corpus.label_names), dtype=np.float32)[corpus.labels[rows]]
    examples = Examples(token_ids, offsets[rows], offsets[rows + 1], targets)
    known = base.embedding.num_embeddings if base else 0
    before = replace(examples, token_ids=np.where(token_ids < known, token_ids, UNKNOWN))
    pooled = _pooled(base, before) if base else np.zeros((len(rows), 0))
    grams = CountVectorizer(analyzer=_grams, dtype=np.float64).fit_transform(corpus.documents(rows))
    groups = None if corpus.groups is None else corpus.groups[rows]
    counted = _counted(examples, len(tokenizer.vocabulary))
    return FewTexts(examples, pooled, base.output.out_features if base else 0, counted, grams, groups, known)


def _grams(tokens: Sequence[str]) -> list[str]:
    return [*tokens, *(f"{one} {other}" for one, other in itertools.pairwise(tokens))]


def _counted(examples: Examples, vocabulary_size: int) -> Matrix:
    """How often each text has each token, [text, token]."""
    spans = zip(examples.starts.tolist(), examples.ends.tolist(), strict=True)
    token_ids = np.concatenate([examples.token_ids[start:end] for start, end in spans]).astype(np.int64)
    ends = np.concatenate([[0], np.cumsum(examples.lengths())])
    found = csr_matrix((np.ones(len(token_ids)), token_ids, ends), shape=(len(examples), vocabulary_size))
    found.sum_duplicates()
    return found


def _pooled(base: BiLSTM, examples: Examples) -> Floats:
    """What `base` pools of each text, and its logits, [text, 4 * hidden + label]."""
    found = np.zeros((len(examples), base.output.in_features + base.output.out_features))
    order = np.argsort(examples.lengths(), kind="stable")
    with torch.inference_mode():
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            token_ids, lengths, _ = examples.batch(chosen, torch.device("cpu"))
            pooled = base.pooled(token_ids, lengths)
            found[chosen] = torch.cat([pooled, base.output(pooled)], dim=1).numpy()
    return found
