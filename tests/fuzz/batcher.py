"""`python -m tests.fuzz.batcher`: a batcher in every state that callers, batches, time and its end can bring it to.

Hypothesis chooses what happens next; the tests let it choose a few times. The batcher is the service's own, with its
threads and with the slots in which models change between batches; the models are made up, and time passes when it is
told to.
"""

import asyncio
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from time import monotonic
from typing import Any, Literal, cast

import click
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from service.engine.admission import Admission, Closed, Overloaded
from service.engine.batcher import Answer, Batcher, Hung, Ran, Ticket
from service.engine.encoding import Late
from service.model.classifier import Asked, Classifier, Prediction, Slot
from service.model.grouping import Grouping
from service.model.tokenizer import Encoded

HANG_SECONDS = 3.0
LAST_SECONDS = 0.3  # at most, from the loss of a thread until everybody has an answer
MOST_TOKENS = 60  # in the queue; a text has as many as its number, so later texts fill it sooner
_PATIENCE_SECONDS = 60.0  # for a thread, on a busy machine
Verdict = Literal["answer", "raise", "too few", "die", "interrupted"]
VERDICTS: tuple[Verdict, ...] = ("answer", "answer", "answer", "raise", "too few", "die")


class StoppedClock(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still until `now` is set."""

    now = 0.0

    def time(self) -> float:
        return self.now


@dataclass(eq=False)
class Model:
    """Answers a text, which is a number here, with its own name and that number; some numbers it cannot read."""

    name: int
    unreadable: set[int]

    def predict(self, numbers: Sequence[int], options: object) -> list[tuple[int, int]]:
        """As the classifier's."""
        if self.unreadable.intersection(numbers):
            raise ValueError("unreadable")
        return [(self.name, number) for number in numbers]


class Gate:
    """A slot that holds each batch until it is told what becomes of it."""

    def __init__(self, heeds: bool) -> None:
        self._slot, self.heeds = Slot(), heeds  # whether interrupting it helps
        self._verdicts: SimpleQueue[Verdict] = SimpleQueue()
        self._alone: list[int] = []  # texts of a batch that failed: the batcher tries each once more, alone
        self._interrupted = False
        self.batch: list[int] = []  # the one that is held
        self.interrupted = False  # and has not ended since
        self.blamed: set[int] = set()  # texts that failed for good
        self.thread: threading.Thread | None = None
        self.dead = False

    def __call__(self, asked: Sequence[Asked]) -> Sequence[Prediction]:
        numbers = [number_of(each) for each in asked]
        verdict: Verdict = "answer"
        if self._alone:
            assert [self._alone.pop(0)] == numbers
        else:
            self.thread, self._interrupted, self.batch = threading.current_thread(), False, numbers
            verdict = self._verdicts.get()
        if verdict == "die":
            raise SystemExit
        predictions, error = list[Prediction](), None
        try:
            if verdict in ("raise", "interrupted"):
                raise ValueError(verdict)
            predictions = self._slot(asked)
        except ValueError as raised:
            error = raised
        if error is None and verdict == "answer":
            return predictions
        if self._interrupted or len(numbers) == 1:
            self.blamed.update(numbers)
        else:
            self._alone = numbers.copy()
        if error is not None:
            raise error
        return predictions[:-1]

    def go_on(self, verdict: Verdict) -> None:
        """Lets the batch go."""
        self.batch, self.interrupted, self.dead = [], False, verdict == "die"
        self._verdicts.put(verdict)

    def interrupt(self) -> None:
        """Called by the batcher where a batch takes too long."""
        self._slot.interrupt()
        self._interrupted = self.interrupted = True


@dataclass(eq=False)
class Caller:
    """A request, and what became of it."""

    model: int
    numbers: list[int]
    deadline: float
    task: "asyncio.Task[list[Answer[Any]]] | None" = None
    ticket: Ticket[Asked, Prediction] | None = None
    left: bool = False
    dropped: int = 0  # texts that no batch ran


@dataclass
class Told:
    """What the batcher told its observers."""

    batches: list[Ran] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)  # of callbacks of the event loop


def number_of(asked: Asked) -> int:
    """The text's number, which is also its length in tokens."""
    return cast(int, asked.encoded)


class BatcherMachine(RuleBasedStateMachine):
    """Callers come, leave and are late; batches end in every way; models change; the batcher ends at any time."""

    @initialize(heeds=st.lists(st.booleans(), min_size=1, max_size=3), rows=st.integers(1, 4), most=st.integers(1, 12))
    def begin(self, heeds: list[bool], rows: int, most: int) -> None:
        """Starts a batcher with one to three slots."""
        self.rows, self.most, self.told = rows, most, Told()
        self.gates = [Gate(each) for each in heeds]
        grouping = Grouping(1, {count: 0.99 + 0.01 * count for count in range(1, rows + 1)}, 10_000, window=6)
        self.batcher = Batcher[Asked, Prediction](
            self.gates,
            number_of,
            grouping,
            Admission(most, MOST_TOKENS),
            HANG_SECONDS,
            self.told.batches.append,
            self.told.lost.append,
        )
        self.runner = asyncio.Runner(loop_factory=StoppedClock)
        self.loop = cast(StoppedClock, self.runner.get_loop())
        self.loop.set_exception_handler(lambda loop, context: self.told.errors.append(context))
        self.models, self.callers = [Model(0, set())], list[Caller]()
        self.closing: asyncio.Task[None] | None = None
        self.abandoned = False
        self.admitted, self.died = 0, set[int]()  # how many texts; those whose thread died
        self.lost_at = math.inf  # on the loop's clock

    @rule(
        requests=st.lists(
            st.tuples(st.integers(1, 5), st.integers(0, 3), st.sampled_from([1.0, 5.0, 100.0])), min_size=1, max_size=4
        )
    )
    def ask(self, requests: list[tuple[int, int, float]]) -> None:
        """Callers come, each with some texts, of which one may be unreadable, and seconds to wait."""
        for texts, luck, seconds in requests:
            self._ask(texts, luck == 0, seconds)
        self._settle()

    def _ask(self, texts: int, unreadable: bool, seconds: float) -> None:
        """A caller is admitted whole or refused."""
        first, model = self.admitted + 1, self.models[-1]
        caller = Caller(model.name, list(range(first, first + texts)), self.loop.now + seconds)
        if unreadable:
            model.unreadable.add(caller.numbers[-1])
        admission = self.batcher.admission
        is_full = admission.texts + texts > self.most or admission.tokens + sum(caller.numbers) > MOST_TOKENS
        closed = self.closing is not None or self.abandoned or bool(self.told.lost)
        asked = [Asked(cast(Classifier, model), cast(Encoded, number)) for number in caller.numbers]

        async def come() -> None:
            try:
                caller.ticket = self.batcher.admit(asked, tag=caller)
            except Closed:
                assert closed
            except Overloaded:
                assert not closed
                assert admission.texts > 0
                assert is_full
            else:
                assert not closed
                assert not is_full or admission.texts == texts
                caller.task = asyncio.create_task(self._wait(caller, caller.ticket))

        self.runner.run(come())
        if caller.task is not None:
            self.admitted += texts
            self.callers.append(caller)

    @precondition(lambda self: any(not caller.task.done() for caller in self.callers))
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """A caller hangs up."""
        caller = data.draw(st.sampled_from([each for each in self.callers if not self._is_done(each)]))
        assert caller.task is not None
        caller.left = True
        caller.task.cancel()
        self._settle()

    @precondition(lambda self: any(gate.batch for gate in self.gates))
    @rule(data=st.data(), verdict=st.sampled_from(VERDICTS))
    def go_on(self, data: st.DataObject, verdict: Verdict) -> None:
        """A batch ends, or its thread dies."""
        gate = data.draw(st.sampled_from([gate for gate in self.gates if gate.batch]))
        self._go_on(gate, verdict)

    @rule(seconds=st.sampled_from([0.1, 1.0, HANG_SECONDS, 10.0]))
    def time_passes(self, seconds: float) -> None:
        """Deadlines pass, and batches hang."""
        self.loop.now += seconds
        self._settle()

    @rule()
    def change_the_model(self) -> None:
        """Texts that come from now on are for another model."""
        self.models.append(Model(len(self.models), set()))

    @rule(how=st.sampled_from(["abandon", "close"]), now=st.sampled_from([False] * 9 + [True]))
    def begin_to_end(self, how: str, now: bool) -> None:
        """Whoever waits is refused, or the last batches are run; not often, since little happens after it."""
        if now and how == "abandon":
            self.abandoned = True
            self.runner.run(self._call(self.batcher.abandon))
        elif now and self.closing is None:
            self.closing = self.loop.create_task(self.batcher.close())
        self._settle()

    def teardown(self) -> None:
        """Ends the batcher in whatever state it is: everybody has an answer, and nothing is left."""
        if not hasattr(self, "runner"):
            return
        try:
            self._end()
        finally:
            for gate in self.gates:
                if gate.batch:
                    gate.go_on("answer")
            self.runner.close()

    def _end(self) -> None:
        if self.closing is None:
            self.closing = self.loop.create_task(self.batcher.close())
            self._settle()
        while any(gate.batch for gate in self.gates):
            self._go_on(next(gate for gate in self.gates if gate.batch), "answer")
        self.loop.now += 100.0
        self._settle()
        self._until(self.closing.done, "close to end")
        self.closing.result()
        self._settle()
        assert all(self._is_done(caller) for caller in self.callers)
        assert (self.batcher.admission.texts, self.batcher.admission.tokens) == (0, 0)
        assert not self.told.errors, self.told.errors
        assert not asyncio.all_tasks(self.loop)
        for gate in self.gates:
            if gate.thread is not None:
                gate.thread.join(_PATIENCE_SECONDS)
                assert not gate.thread.is_alive(), "a thread is left"

    async def _wait(self, caller: Caller, ticket: Ticket[Asked, Prediction]) -> list[Answer[Prediction]]:
        """As the engine waits."""
        timer = self.loop.call_at(caller.deadline, ticket.fail, Late())
        try:
            return await ticket.answers
        finally:
            timer.cancel()
            if ticket.missing:
                caller.dropped = self.batcher.leave(ticket)

    async def _call(self, function: Callable[[], None]) -> None:
        function()

    def _go_on(self, gate: Gate, verdict: Verdict) -> None:
        if verdict == "die":
            self.died.update(gate.batch)
        told = len(self.told.batches)
        gate.go_on(verdict)
        if verdict == "die":
            assert gate.thread is not None
            gate.thread.join(_PATIENCE_SECONDS)
        else:
            self._until(lambda: len(self.told.batches) == told + 1, "the end of the batch")
        self._settle()

    def _is_done(self, caller: Caller) -> bool:
        assert caller.task is not None
        return caller.task.done()

    def _settle(self) -> None:
        """Runs the event loop until nothing goes on by itself, and then checks everything."""
        self._until(self._is_settled, "the batcher to give its slots what waits")
        # One after the other, since which of two threads ends first would be left to chance.
        for gate in self.gates:
            if gate.heeds and gate.interrupted:
                self._go_on(gate, "interrupted")
        self._check()

    def _is_settled(self) -> bool:
        """Every text is accounted for: waiting, in a batch that is held, run, dropped, or dead with its thread."""
        texts = self.batcher.admission.texts
        gone = sum(len(ran.tokens) for ran in self.told.batches) + sum(caller.dropped for caller in self.callers)
        held = sum(len(gate.batch) for gate in self.gates)
        is_busy = all(gate.batch or gate.dead for gate in self.gates)
        return self.admitted == texts + held + gone + len(self.died) and (not texts or is_busy)

    def _until(self, condition: Callable[[], bool], expected: str) -> None:
        async def wait() -> None:
            end = monotonic() + _PATIENCE_SECONDS
            for _ in range(10):  # callbacks that call callbacks
                await asyncio.sleep(0)
            while not condition():
                assert monotonic() < end, f"expected {expected}"
                await asyncio.sleep(0)

        self.runner.run(wait())

    def _check(self) -> None:
        """What is true at all times."""
        run = [number for ran in self.told.batches for number in ran.tokens]
        held = [number for gate in self.gates for number in gate.batch]
        assert len({*run, *held}) == len(run) + len(held), "a text was run twice"
        assert all(1 <= len(ran.tokens) <= self.rows for ran in self.told.batches)
        assert all(len(gate.batch) <= self.rows for gate in self.gates)
        blamed = set().union(*(gate.blamed for gate in self.gates))
        assert sum(ran.failed for ran in self.told.batches) == len(blamed)
        waiting = {n for c in self.callers if not self._is_done(c) for n in c.numbers} - {*run, *held} - self.died
        admission = self.batcher.admission
        assert (admission.texts, admission.tokens) == (len(waiting), sum(waiting))
        for gate in self.gates:
            if gate.batch and waiting:
                assert min(gate.batch) < min(waiting), "the text that came first was passed over"
        self._check_lost()
        if self.closing is not None and self.closing.done():
            assert all(self._is_done(caller) for caller in self.callers), "closed before everybody had an answer"
        for caller in self.callers:
            if self._is_done(caller):
                self._check_answer(caller, blamed)

    def _check_lost(self) -> None:
        """Once a thread is lost, its callers are answered at once, and all others soon."""
        if not self.told.lost:
            assert not self.died
            return
        assert len(self.told.lost) == 1
        if self.lost_at == math.inf:
            self.lost_at = self.loop.now
            assert all(self._is_done(each) for each in self.callers if self.died.intersection(each.numbers))
        if self.loop.now >= self.lost_at + LAST_SECONDS:
            assert all(self._is_done(caller) for caller in self.callers)

    def _check_answer(self, caller: Caller, blamed: set[int]) -> None:
        """A caller has one answer: its results in order, from its own model, or the error that fits."""
        assert caller.task is not None
        if caller.task.cancelled():
            assert caller.left
            return
        error = caller.task.exception()
        if error is None:
            expected = [(caller.model, number) for number in caller.numbers]
            assert [answer.result for answer in caller.task.result()] == expected
            assert caller.dropped == 0
            return
        is_due = {
            Late: self.loop.now >= caller.deadline,
            Closed: self.abandoned or bool(self.told.lost),
            Hung: bool(self.told.lost),
            ValueError: bool(blamed.intersection(caller.numbers)),
            RuntimeError: bool(blamed.intersection(caller.numbers)),
        }
        assert is_due[type(error)], f"expected another answer than {error!r}"


def fuzz(cases: int, steps: int) -> None:
    """Takes a batcher through so many lives of at most so many steps each. Raises AssertionError."""
    chosen = settings(
        max_examples=cases,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(BatcherMachine, settings=chosen)


@click.command(context_settings={"show_default": True})
@click.option("--cases", type=click.IntRange(min=1), default=5_000, help="Batchers.")
@click.option("--steps", type=click.IntRange(min=1), default=50, help="Most steps in the life of each.")
def main(cases: int, steps: int) -> None:
    """Takes batchers through whatever may happen; ends with a traceback and the steps that lead to a failure."""
    fuzz(cases, steps)
    click.echo(f"{cases} batchers of at most {steps} steps, 0 failures")


if __name__ == "__main__":
    main()
