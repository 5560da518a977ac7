"""The recipes: `release`, the network that ships; `base`, for a person's own texts; `article`, the first."""

from dataclasses import dataclass, replace

from service.model.tokenizer import Rules, Truncation
from training.fitting.loop import Plan
from training.network.bilstm import Head


@dataclass(frozen=True)
class Mixing:
    """What is shown of several data sets, and to whom."""

    phrases: int  # one phrase of the treebank in so many is shown to the encoder
    film_reviews: int  # so many are shown to the encoder
    short_texts: int  # at most so many sentences and phrases are labelled by the encoder
    short_share: float  # of the short texts, in every epoch of the network
    neutral: float  # share of the reviews that stand beside sentences which lean to neither label, in every epoch
    encoder_words: int  # of the vocabulary: common words of the encoder's, whether or not the texts have them
    # First the network learns by this plan; then it goes on under targets that make it as sure of each kind of text as
    # it is right (`targets.recalibrated`).
    first: Plan


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
    short_tokens: int = 0  # up to here texts keep their words: see `BiLSTM`
    contrasts: float = 0.0  # made-up English sentences that turn on a negation, for each text shown in an epoch
    mixing: Mixing | None = None  # of several data sets, with an encoder for a teacher


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
        vocabulary_size=40_000,
        max_tokens=800,
        embedding_size=128,
        sentences=0,
        short_tokens=40,
        embedding_dropout=0.1,
        contrasts=0.3,
        mixing=Mixing(
            phrases=1,
            film_reviews=12_000,
            short_texts=400_000,
            short_share=0.5,
            neutral=0.3,
            encoder_words=8_000,
            first=replace(_BASE.plan, epochs=2, learning_rate=2e-3, keep="last"),
        ),
        plan=replace(_BASE.plan, epochs=5, learning_rate=1e-3, keep="last"),
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
