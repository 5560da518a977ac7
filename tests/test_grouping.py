"""The choice of what runs together, against every choice there is."""

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.grouping import CPU, CUDA, Grouping

LENGTHS = st.lists(st.integers(1, 400), min_size=1, max_size=40).map(sorted)


def over(grouping: Grouping, tokens: list[int]) -> float:
    """What these cost together beyond what they are worth."""
    return grouping.cost(len(tokens), tokens[-1]) - grouping.worth * sum(tokens)


@pytest.mark.parametrize("grouping", [CPU, CUDA, Grouping(5, 0.5, 0.5, 3, 600, 16, 0.7)])
@given(tokens=LENGTHS, place=st.integers(0, 39))
def test_no_run_with_the_head_in_it_costs_less(grouping: Grouping, tokens: list[int], place: int) -> None:
    head = place % len(tokens)
    chosen = grouping.choose(tokens, head)
    assert chosen.start <= head < chosen.stop
    group = tokens[chosen]
    assert len(group) <= grouping.max_rows
    assert len(group) == 1 or len(group) * group[-1] <= grouping.max_tokens
    for start in range(head + 1):
        for end in range(head + 1, len(tokens) + 1):
            other = tokens[start:end]
            if len(other) <= grouping.max_rows and len(other) * other[-1] <= grouping.max_tokens:
                assert over(grouping, group) <= over(grouping, other) + 1e-9


def test_what_a_person_would_choose() -> None:
    tokens = [20, 198, 199, 200, 201, 380]
    assert tokens[CPU.choose(tokens, bisect_left(tokens, 200))] == [198, 199, 200, 201]
    assert tokens[CPU.choose(tokens, 0)] == [20]  # a short one would pay for the long ones' steps
    assert tokens[CUDA.choose(tokens, 5)][-1] == 380
