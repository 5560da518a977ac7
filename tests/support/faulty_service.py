"""The real command line around a classifier whose faults a text asks for by its number of tokens.

`python -m tests.support.faulty_service serve`; uvicorn's workers import this module again, and have the faults too.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from service.__main__ import main
from service.model.classifier import Classifier, Prediction
from service.model.tokenizer import Encoded

RAISES, HANGS, SLOW, HELD = 17, 19, 23, 29  # tokens
SLOW_SECONDS = 0.3
GATE = "GATE"  # the variable that names a file; a held text is run when the file is there

_predict = Classifier.predict


def text(tokens: int) -> str:
    """A text of so many tokens."""
    return " ".join(["fine"] * tokens)


def _faulty(self: Classifier, encoded: Sequence[Encoded], options: Any = None) -> list[Prediction]:
    found = {one.tokens for one in encoded}
    if RAISES in found:
        raise RuntimeError("as it was asked to")
    if SLOW in found:
        time.sleep(SLOW_SECONDS)
    while HELD in found and not Path(os.environ[GATE]).exists():
        time.sleep(0.01)
    while HANGS in found:
        time.sleep(0.01)
    return _predict(self, encoded, options)


if __name__ in ("__main__", "__mp_main__"):  # not where a test imports the constants
    Classifier.predict = _faulty  # type: ignore[method-assign]

if __name__ == "__main__":
    sys.exit(main())
