"""The choice of what runs together, against every choice there is."""

from bisect import bisect_left
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.model import grouping
from service.model.grouping import Grouping

LENGTHS = st.lists(st.integers(1, 400), min_size=1, max_size=10).map(sorted)


def seconds(provider: str, rows: int, tokens: int) -> float:
    """A CPU that gains by a few rows, a GPU to which rows are nearly nothing."""
    step = {"cpu": 0.4 + 0.6 * rows, "cuda": 0.98 + 0.02 * rows}[provider]
    return 2e-6 * (10 + tokens * step)


CPU, CUDA = (
    grouping.measured(provider, lambda rows, tokens, name=provider: seconds(name, rows, tokens))  # type: ignore[misc]
    for provider in ("cpu", "cuda")
)


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


def test_what_is_measured_is_the_undisturbed_cost() -> None:
    calls = 0

    def disturbed(rows: int, tokens: int) -> float:
        nonlocal calls
        calls += 1
        return seconds("cpu", rows, tokens) + (0.1 if calls % 4 == 0 else 0.0)

    found = grouping.measured("cpu", disturbed)
    for rows in grouping.ROWS["cpu"]:
        for tokens in (16, 256):
            cost = found.cost(rows, tokens) - grouping.AROUND_SECONDS
            assert cost == pytest.approx(seconds("cpu", rows, tokens), rel=0.01)
