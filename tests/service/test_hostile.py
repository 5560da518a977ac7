"""A tenth to a half of what `python -m tests.hostile` does, at once: the right answers, and memory within its bound."""

import asyncio

from tests.hostile import attack, victim

# The others last as long as the deadlines that end them.
NAMES = (
    "heads without end", "values without end", "many fields", "long heads that were answered", "trailers without end",
    "chunked bodies", "chunks of a byte", "unknown keys", "a million texts", "a million brackets",
)  # fmt: skip


def test_attacks_at_once_are_answered_rightly_within_the_bound_of_memory() -> None:
    with victim() as (running, rest_bytes):
        outcome = asyncio.run(attack(running, NAMES, rest_bytes, share=0.25))
    assert not outcome.problems()
