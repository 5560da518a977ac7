"""The NB-weighted linear model of n-grams that is also a teacher: in scikit-learn, and as one dict of weights."""

from collections.abc import Sequence
from itertools import repeat

from benchmarks.frontier.contestant import Contestant, Predict, PredictMany, Split
from service.model.tokenizer import Rules, words
from training.data.corpus import Corpus
from training.data.split import TRAIN
from training.recipe import linear_teacher

# TABLE gives the same labels as PIPELINE, in the form in which one would serve this model.
PIPELINE, TABLE = "NB-weighted linear", "NB-weighted linear, as a dict"
ABOUT = {
    PIPELINE: "scikit-learn: CountVectorizer with a Python analyzer of 1- to 3-grams, then predict_proba",
    TABLE: "the same weights in one Python dict, summed over the text's 1- to 3-grams",
}


def contestants(corpus: Corpus, rules: Rules, split: Split) -> list[Contestant]:
    """PIPELINE and TABLE, fitted to the training reviews of `corpus`."""
    alone, together = predictors(corpus, rules)
    many = {PIPELINE: together, TABLE: None}  # the dict is no faster with many texts a call
    return [split.contestant(name, "fp32", alone[name], {"implementation": ABOUT[name]}, many[name]) for name in ABOUT]


def predictors(corpus: Corpus, rules: Rules) -> tuple[dict[str, Predict], PredictMany]:
    """PIPELINE and TABLE by name, fitted to the training reviews of `corpus`; and PIPELINE for many texts a call."""
    rows = corpus.rows(TRAIN)
    folds = linear_teacher.fit(corpus.documents, rows, corpus.labels[rows])
    vectorizer, model = folds.vectorizer, folds.models[-1]

    def pipeline(text: str) -> int:
        return int(model.predict_proba(vectorizer.transform([words(text, rules)]))[0].argmax())

    weigh, logistic = (step for _, step in model.steps)
    weights, bias = (weigh.ratio_ * logistic.coef_[0]).tolist(), float(logistic.intercept_[0])
    table = {ngram: weights[place] for ngram, place in vectorizer.vocabulary_.items()}

    def look_up(text: str) -> int:
        return int(sum(map(table.get, set(linear_teacher.ngrams(words(text, rules))), repeat(0.0))) + bias > 0)

    def together(texts: Sequence[str]) -> object:
        return model.predict_proba(vectorizer.transform([words(text, rules) for text in texts]))

    return {PIPELINE: pipeline, TABLE: look_up}, together
