"""Scores parts on all cores: a process for each, since threads of one process gain half as much."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from multiprocessing.connection import wait

from service.bulk.layout import Layout
from service.bulk.parts import Part
from service.bulk.scorers import Model, Scorer, Source, Stopped
from service.bulk.work import Done, work

# Parts in work for each process: one is scored while the next waits. What a kill costs is that many parts in all.
_PARTS_A_PROCESS = 2


def scored(parts: Iterable[Part], layout: Layout, source: Source, model: Model, processes: int) -> Iterator[Done]:
    """Yields the parts as they were scored, in order; reads a few parts ahead. Raises Stopped."""
    # "spawn": a fork would copy the locks of this process's threads as they are at that moment.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, _begin)
    running: deque[Future[Done]] = deque()
    try:
        for part in parts:
            running.append(pool.submit(_work, part, layout, source, model))
            if len(running) == _PARTS_A_PROCESS * processes:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    except BrokenProcessPool:
        raise Stopped(
            "expected the processes that score to live, found that one has ended (perhaps for want of memory: "
            "--workers takes fewer)"
        ) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # a part in work may wait long for a service


# In a process.


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed closes no queue, so that this process would wait for it without end."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


@cache
def _scorer(source: Source, model: Model) -> Scorer:
    return source.open(model)


def _work(part: Part, layout: Layout, source: Source, model: Model) -> Done:
    return work(part, layout, _scorer(source, model))
