"""The recipes: `release`, the network that ships; `base`, the same with fewer teachers; `article`, the first."""

from dataclasses import dataclass, replace

from service.model.tokenizer import Rules, Truncation
from training.fitting.loop import Plan
from training.network.bilstm import Head


@dataclass(frozen=True)
class DeepTeacher:
    """A wider network, which first learns to predict the next token, then to classify: the latter `count` times, each
    with a seed of its own."""

    embedding_size: int
    hidden_size: int
    pretraining: Plan
    fine_tuning: Plan
    count: int


@dataclass(frozen=True)
class ShortReader:
    """A network beside the one for reviews, for texts of a few sentences: first come lessons in negation, then all.

    Its embeddings are the mean of the deep teachers'.
    """

    hidden_size: int
    embedding_dropout: float
    stretches: int  # of each review, in every epoch
    neutral: float  # runs of neutral sentences, for each review, in every epoch; where the network has such, too
    contrasts: float  # made-up English sentences that turn on a negation, for each review, in every epoch
    lessons: Plan  # on those sentences alone
    plan: Plan  # then on them beside stretches of reviews and neutral text
    share: float  # how far it ends from the weights after the lessons alone (0) to those after all (1)
    weight: float  # how much of the logits of texts of up to `short_tokens` it says; the network says the rest


@dataclass(frozen=True)
class Preset:
    """Everything a run decides but its data and its seed."""

    vocabulary_size: int
    rules: Rules
    max_tokens: int
    truncation: Truncation
    embedding_size: int
    hidden_size: int
    head: Head
    validation_share: float
    sentences: int  # of each review, shown on their own in every epoch
    teacher: bool  # learn from the linear model's probabilities, and so from unlabelled reviews too
    plan: Plan
    dense_size: int = 64
    word_dropout: float = 0.0
    embedding_dropout: float = 0.0
    head_dropout: float = 0.0
    ngram_buckets: int = 0  # rows of the table of hashed pairs and triples of tokens; 0: none
    ngram_dropout: float = 0.0
    short_tokens: int = 0  # up to here no n-gram counts in the network (in its teachers all do): see `BiLSTM`
    deep_teacher: DeepTeacher | None = None  # beside the linear one
    # With deep teachers: reviews shown again beside neutral sentences, and as many of those alone; for each review.
    neutral: float = 0.0
    contrasts: float = 0.0  # made-up English sentences that turn on a negation, for each review, in every epoch
    # With deep teachers and the labels negative and positive: for texts from twice `short_tokens` down.
    short_reader: ShortReader | None = None


_BASE = Preset(
    vocabulary_size=30_000,
    rules="words-and-marks-2",
    max_tokens=400,
    truncation="head-and-tail",
    embedding_size=64,
    hidden_size=64,
    head="pooled",
    validation_share=0.1,
    sentences=2,
    teacher=True,
    word_dropout=0.1,
    embedding_dropout=0.3,
    head_dropout=0.2,
    plan=Plan(
        epochs=6,
        batch_size=64,
        learning_rate=3e-3,
        one_cycle=True,
        weight_decay=0.01,
        clip=1.0,
        average_decay=0.999,
        patience=3,
    ),
)

PRESETS = {
    "base": _BASE,
    "release": replace(
        _BASE,
        ngram_buckets=2**18,
        ngram_dropout=0.5,
        max_tokens=800,
        hidden_size=48,
        deep_teacher=DeepTeacher(
            embedding_size=128,
            hidden_size=128,
            pretraining=Plan(epochs=6, batch_size=64, learning_rate=3e-3, one_cycle=True, clip=1.0, keep="last"),
            fine_tuning=replace(_BASE.plan, epochs=3, learning_rate=2e-3, keep="last"),
            count=2,
        ),
        short_tokens=40,
        neutral=0.3,
        contrasts=0.6,
        short_reader=ShortReader(
            hidden_size=64,
            embedding_dropout=0.1,
            stretches=3,
            neutral=0.3,
            contrasts=6.0,
            lessons=replace(_BASE.plan, epochs=1, keep="last"),
            plan=replace(_BASE.plan, epochs=1, keep="last"),
            share=0.8,
            weight=0.7,
        ),
        plan=replace(_BASE.plan, epochs=2, keep="last"),
    ),
    "article": Preset(
        vocabulary_size=10_000,
        rules="words",
        max_tokens=200,
        truncation="tail",
        embedding_size=64,
        hidden_size=64,
        head="last",
        validation_share=0.2,
        sentences=0,
        teacher=False,
        plan=Plan(epochs=10, batch_size=32, learning_rate=1e-3, keep="last"),
    ),
}
