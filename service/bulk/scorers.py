"""Texts -> answers: with a bundle in this process, or by a running service. Both answer bit for bit the same."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from service.model.bundle import Bundle

MAX_CHARACTERS = 1_000_000  # of a text, so that no single one takes hundreds of MB
# Texts in a call of the network, all of about the same length: fewer make more calls, more outgrow the core's caches
# (`python -m benchmarks score` tries several).
_ROWS = 6
# A service that restarts is waited for; one that answers nothing for so long is given up.
_SECONDS, _RETRIES = 600.0, 1000


class Answer(Protocol):
    """What is written of a prediction; both kinds of `Prediction` have it."""

    @property
    def label(self) -> str:
        """The most probable label."""

    @property
    def score(self) -> float:
        """Its calibrated probability."""

    @property
    def uncertain(self) -> bool:
        """Whether to take it for "don't know"."""

    @property
    def tokens(self) -> int:
        """Tokens in the whole text."""

    @property
    def truncated(self) -> bool:
        """Whether the network read fewer."""

    @property
    def probabilities(self) -> Mapping[str, float]:
        """By label."""


class Scorer(Protocol):
    """Scores texts with one model."""

    def __call__(self, texts: Sequence[str]) -> list[Answer | str]:
        """An answer for each text, or the reason why there is none. Raises Stopped."""


class Stopped(Exception):
    """Nothing can be scored any more; `code` is the exit code. Plain arguments let processes pass it on."""

    def __init__(self, reason: str, code: int = 1) -> None:
        super().__init__(reason, code)
        self.reason, self.code = reason, code

    def __str__(self) -> str:
        return self.reason


class Model(NamedTuple):
    """What answers."""

    name: str  # with the digest of its manifest
    labels: tuple[str, ...]


class Source(NamedTuple):
    """Where answers come from: a bundle's folder, or the URL of a service."""

    bundle: Path
    url: str | None = None  # then the bundle is not read
    api_key: str | None = None

    def model(self) -> Model:
        """Reads the bundle's files, or asks the service. Raises Stopped."""
        if self.url is None:
            found = _bundle(self.bundle)
            return Model(found.name, found.manifest.labels)
        client = _client()
        try:
            with client.Client(self.url, api_key=self.api_key) as asking:
                served = asking.model()
        except (client.OvationError, ValueError) as error:  # ValueError: of OVATION_API_KEY
            raise Stopped(f"--url {self.url}: {error}") from None
        return Model(served.model, served.labels)

    def open(self, model: Model) -> Scorer:
        """What scores with `model`. Raises Stopped where it is another one by now."""
        return Local(self.bundle, model) if self.url is None else Remote(self.url, self.api_key, model)


class Local:
    """Scores with the bundle in `folder`, on one core. Raises Stopped where it is damaged."""

    def __init__(self, folder: Path, model: Model) -> None:
        from service.model.bundle import DAMAGED, BundleError
        from service.model.classifier import Classifier

        try:
            self._classifier = Classifier(_bundle(folder), "cpu")
        except BundleError as error:
            raise Stopped(str(error), DAMAGED) from None
        if self._classifier.name != model.name:
            raise Stopped(f"{folder}: expected {model.name}, found {self._classifier.name}: it was replaced meanwhile")

    def __call__(self, texts: Sequence[str]) -> list[Answer | str]:
        """See `Scorer`. Texts of similar length run together, since padding costs as much as tokens."""
        from service.model.tokenizer import BlankText

        answers: list[Answer | str] = [""] * len(texts)
        encoded = []
        for place, text in enumerate(texts):
            try:
                encoded.append((place, self._classifier.tokenizer.encode(text)))
            except BlankText as error:
                answers[place] = str(error)
        encoded.sort(key=lambda pair: len(pair[1].token_ids))
        for first in range(0, len(encoded), _ROWS):
            together = encoded[first : first + _ROWS]
            predictions = self._classifier.predict([text for _, text in together])
            for (place, _), prediction in zip(together, predictions, strict=True):
                answers[place] = prediction
        return answers


class Remote:
    """Scores by the service at `url`, which may restart meanwhile."""

    def __init__(self, url: str, api_key: str | None, model: Model) -> None:
        client = _client()
        self._error, self._failure, self._model = client.OvationError, client.Failure, model
        self._client = client.Client(url, api_key=api_key, timeout=_SECONDS, retries=_RETRIES)

    def __call__(self, texts: Sequence[str]) -> list[Answer | str]:
        """See `Scorer`."""
        answers: list[Answer | str] = []
        expected = self._model.name
        try:
            for outcome in self._client.predict_many(texts):
                if isinstance(outcome, self._failure):
                    answers.append(outcome.problem.detail)
                elif outcome.model != expected:
                    raise Stopped(f"expected answers of {expected}, found one of {outcome.model}: serve one model")
                else:
                    answers.append(outcome)
        except self._error as error:
            raise Stopped(str(error)) from None
        return answers


def _bundle(folder: Path) -> "Bundle":
    from service.model.bundle import DAMAGED, BundleError, check_folder, read

    try:
        check_folder(folder, "--bundle or OVATION_MODEL")
        return read(folder)
    except BundleError as error:
        raise Stopped(str(error), DAMAGED) from None


def _client() -> Any:
    try:
        from service import client
    except ImportError:
        raise Stopped(
            "expected the extra `client` for --url, found no httpx: pip install '.[client]' in the repository's "
            "folder, elsewhere pip install httpx"
        ) from None
    return client
