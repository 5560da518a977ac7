"""The LSTM at work along a text: gates and states, computed by `cell` in NumPy, one text at a time."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.engine.encoding import Late, encode
from service.engine.engine import Engine
from service.model import cell, weights
from service.model.cell import Network, Trace

Direction = Literal["forward", "backward"]

MAX_TOKENS = 100  # whose gates and states are given
# In the queue an inspected token counts as so many, since NumPy takes about 20 times as long for it as onnxruntime.
COST = 20


class Inspection(NamedTuple):
    """One direction of the LSTM along the first tokens of a text."""

    model: str
    spans: NDArray[np.int32]  # [time, 2] offsets of the tokens in code points
    read: int  # tokens that the network reads of the text; `trace` has the first of them
    trace: Trace  # [time, hidden] each


class Inspector:
    """Inspects texts in a thread of its own, under the limits of the engine's queue.

    A text waits in the same queue as others, as far as its limits go: it counts as one text, of `COST` times its
    tokens, until it is inspected.
    """

    def __init__(self, engine: Engine, max_characters: int) -> None:
        self._engine, self._max_characters = engine, max_characters
        self._thread = ThreadPoolExecutor(1, "inspector")

    async def inspect(self, text: str, direction: Direction, deadline: float) -> Inspection:
        """Runs one direction along `text` until `deadline` (perf_counter seconds).

        Raises BadText, UnknownGraph, Overloaded, Closed, Late.
        """
        classifier, admission = self._engine.classifier, self._engine.batcher.admission
        network = weights.read(classifier.tensors)  # views, made anew since the model may change
        items = await encode(classifier, [text], deadline, evidence=True, max_characters=self._max_characters)
        [encoded] = items.encoded
        assert encoded.spans is not None
        seconds_left = deadline - perf_counter()
        if seconds_left <= 0:
            raise Late
        tokens = len(encoded.token_ids)
        cost = COST * tokens
        admission.check(1, cost, seconds_left)
        admission.enter(1, cost)
        loop = asyncio.get_running_loop()
        try:
            # The forward direction does not depend on what follows; the backward one begins at the last token.
            token_ids = encoded.token_ids[:MAX_TOKENS] if direction == "forward" else encoded.token_ids
            run = loop.run_in_executor(self._thread, _trace, token_ids, network, direction)
            trace = await asyncio.wait_for(run, seconds_left)
        except TimeoutError:
            raise Late from None
        finally:
            admission.leave(1, cost)
        spans = encoded.spans[:MAX_TOKENS]
        return Inspection(classifier.name, spans, tokens, trace)

    def close(self) -> None:
        """Ends the thread, once a text that is being inspected is done; those that wait are given up."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _trace(token_ids: NDArray[np.int32], network: Network, direction: Direction) -> Trace:
    """The rows of the first MAX_TOKENS tokens."""
    inputs = network.embedding[token_ids].astype(network.forward.weights.dtype)  # [time, embedding]
    if direction == "forward":
        return cell.run(inputs, network.forward)
    trace = cell.run(inputs, network.backward, reverse=True)
    return Trace(*(array[:MAX_TOKENS] for array in vars(trace).values()))
