"""What is told of changes of the model, and of a model in the shadow."""

from collections.abc import Sequence

import structlog

from service.engine.models import Change
from service.model.classifier import Classifier, Prediction
from service.telemetry.metrics import Metrics


class ModelLog:
    """The observer of `Models`: logs and counts."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def served(self, classifier: Classifier, before: Classifier) -> None:
        """`classifier` answers from now on, in the place of `before`."""
        self._metrics.serve(classifier, before)
        structlog.get_logger("ovation").info("model changed", model=classifier.name, before=before.name)

    def changed(self, change: Change, reason: str | None) -> None:
        """An order was carried out, or was not, for a `reason`."""
        self._metrics.observe_change(change.succeeded)
        if reason is not None:
            log = structlog.get_logger("ovation")
            log.error("model not changed, the one before stays", kind=change.kind, reason=reason)

    def compared(self, live: Sequence[Prediction], shadow: Sequence[Prediction]) -> None:
        """Both models have answered the same texts."""
        for one, other in zip(live, shadow, strict=True):
            apart = abs(one.score - other.probabilities.get(one.label, 0.0))
            self._metrics.observe_shadow("agreed" if one.label == other.label else "disagreed", 1, apart)

    def passed_over(self, texts: int) -> None:
        """Texts that the shadow should have answered were left out."""
        self._metrics.observe_shadow("passed_over", texts)
