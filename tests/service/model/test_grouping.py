"""The choice of what runs together, against every choice there is."""

from bisect import bisect_left
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model import grouping
from service.model.grouping import Grouping

LENGTHS = st.lists(st.integers(1, 400), min_size=1, max_size=10).map(sorted)


def seconds(rows: int, tokens: int) -> float:
    """A call on a GPU, to which rows are nearly nothing."""
    return 2e-6 * (10 + tokens * (0.98 + 0.02 * rows))


def not_measured(rows: int, tokens: int) -> float:
    raise AssertionError("on a CPU nothing is measured")


CPU, CUDA = grouping.for_provider("cpu", not_measured), grouping.for_provider("cuda", seconds)


def cheapest(found: Grouping, tokens: list[int]) -> float:
    """The least that it costs to call them all, of every way there is."""
    if not tokens:
        return 0.0
    return min(
        found.cost(rows, tokens[-1]) + cheapest(found, tokens[:-rows])
        for rows in found.steps
        if rows <= len(tokens) and (rows == 1 or rows * tokens[-1] <= found.max_tokens)
    )


@pytest.mark.parametrize("found", [CPU, CUDA, replace(CPU, max_tokens=600)])
@given(tokens=LENGTHS, place=st.integers(0, 9))
def test_what_is_chosen_is_part_of_the_cheapest_way(found: Grouping, tokens: list[int], place: int) -> None:
    head = place % len(tokens)
    chosen = found.choose(tokens, head)
    assert chosen.start <= head < chosen.stop
    group = tokens[chosen]
    assert len(group) in found.steps
    assert len(group) == 1 or len(group) * group[-1] <= found.max_tokens
    around = cheapest(found, tokens[: chosen.start]) + cheapest(found, tokens[chosen.stop :])
    assert around + found.cost(len(group), group[-1]) == pytest.approx(cheapest(found, tokens))


def test_what_a_person_would_choose() -> None:
    tokens = [20, 198, 199, 200, 201, 380]
    assert tokens[CPU.choose(tokens, bisect_left(tokens, 200))] == [198, 199, 200, 201]
    assert tokens[CPU.choose(tokens, 0)] == [20]  # a short one would pay for the long ones' steps
    assert tokens[CUDA.choose(tokens, 5)][-1] == 380


def test_on_a_cpu_a_start_under_load_chooses_as_a_quiet_one() -> None:
    # No start measures anything, so no load can change what it chooses.
    assert grouping.for_provider("cpu", not_measured) == grouping.for_provider("cpu", seconds)


@given(tokens=LENGTHS, place=st.integers(0, 9), power=st.integers(-30, 30))
@pytest.mark.parametrize("found", [CPU, CUDA])
def test_the_unit_of_the_costs_changes_nothing(found: Grouping, tokens: list[int], place: int, power: int) -> None:
    factor = 2.0**power  # scales floats exactly, ties included
    scaled = replace(found, call=factor * found.call, steps={rows: factor * step for rows, step in found.steps.items()})
    head = place % len(tokens)
    assert scaled.choose(tokens, head) == found.choose(tokens, head)


@given(quiet=st.lists(st.integers(0, 9), min_size=8, max_size=8), delay=st.floats(0, 0.1))
def test_what_is_measured_on_a_busy_machine_is_the_undisturbed_cost(quiet: list[int], delay: float) -> None:
    calls = dict[tuple[int, int], int]()

    def disturbed(rows: int, tokens: int) -> float:
        """Delayed in all calls of a shape but one of the first ten, a different one for each shape."""
        shape = rows, tokens
        calls[shape] = calls.get(shape, -1) + 1
        undisturbed = quiet[list(calls).index(shape)]
        return seconds(rows, tokens) + (0.0 if calls[shape] == undisturbed else delay)

    assert grouping.for_provider("cuda", disturbed) == CUDA


def test_what_is_measured_is_what_a_call_costs() -> None:
    for rows in grouping.ROWS["cuda"]:
        for tokens in (16, 256):
            assert CUDA.cost(rows, tokens) - grouping.AROUND_SECONDS == pytest.approx(seconds(rows, tokens), rel=0.01)
