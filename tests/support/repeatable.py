"""`python -m training` with an encoder that computes in float32.

Whether bfloat16 is faster is found by a timed step, so two runs of the same options may choose differently.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import pytest
from torch import Tensor

from training.__main__ import start
from training.recipe import encoder_fit, encoder_labels, encoder_network


def make_repeatable(patch: pytest.MonkeyPatch) -> None:
    """Lets the encoder choose the same every time."""
    for module in (encoder_fit, encoder_labels):
        patch.setattr(module, "choose_bf16", lambda *_: (False, "float32: the same every time"))


@contextmanager
def stopped_in_the_middle() -> Iterator[None]:
    """Sends SIGTERM to this process in the third step of an encoder's fit."""
    steps = count(1)

    def loss_of(logits: Tensor, targets: Tensor) -> Tensor:
        if next(steps) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return encoder_network.loss_of(logits, targets)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder_fit, "loss_of", loss_of)
        yield


if __name__ == "__main__":
    make_repeatable(pytest.MonkeyPatch())
    start()
