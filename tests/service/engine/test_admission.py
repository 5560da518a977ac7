"""What a refusal says: how much was to be let in, and when to try again."""

import pytest

from service.engine.admission import Admission, Overloaded

TEXT_SECONDS, TOKEN_SECONDS = 250e-6, 1e-6


def seconds(texts: int, tokens: int) -> float:
    """What so much work takes on a machine like the one that the figures of the benchmarks come from."""
    return texts * TEXT_SECONDS + tokens * TOKEN_SECONDS


def learned(*batches: tuple[int, int], **limits: float) -> Admission:
    """After batches of (texts, tokens)."""
    admission = Admission(512, 262_144, **limits)
    for texts, tokens in batches:
        admission.measure(texts, tokens, seconds(texts, tokens))
    return admission


def refusal(admission: Admission, texts: int, tokens: int, seconds_left: float = 10.0) -> Overloaded:
    with pytest.raises(Overloaded) as refused:
        admission.check(texts, tokens, seconds_left)
    return refused.value


def test_the_time_of_texts_like_the_measured_ones_is_right() -> None:
    admission = learned(*100 * [(5, 1000)])
    assert admission.seconds(500, 100_000) == pytest.approx(seconds(500, 100_000))


@pytest.mark.parametrize("before", [1, 5, 200, 800])
@pytest.mark.parametrize("now", [1, 5, 200, 800])
def test_after_texts_of_another_length_no_wait_is_told_longer_than_it_is(before: int, now: int) -> None:
    admission = learned(*200 * [(5, 5 * before)])
    assert 0 < admission.seconds(400, 400 * now) <= seconds(400, 400 * now) * 1.000001
    for _ in range(20):
        admission.measure(5, 5 * now, seconds(5, 5 * now))
    if now > before:  # the estimate is near the truth after as many batches as take some ten ms
        assert admission.seconds(400, 400 * now) >= seconds(400, 400 * now) / 3


def test_reviews_after_one_word_texts_are_let_in() -> None:
    admission = learned(*300 * [(1, 1)])
    admission.enter(100, 28_000)
    admission.check(100, 28_000, seconds_left=10.0)  # by tokens alone it would be 14 s


def test_the_number_of_texts_is_told_where_it_is_known() -> None:
    admission = learned()
    admission.enter(460, 1000)
    assert "expected room for 100 texts or sentences (250 tokens), found 460 of 512 places" in str(
        refusal(admission, 100, 250)
    )
    admission.enter(52, 0)
    assert "expected room for at least one text, found 512 of 512 places" in str(refusal(admission, 1, 0))
    assert "expected room for 1 text (3 tokens), found 512" in str(refusal(admission, 1, 3))
    slow = learned((1, 100))
    slow.enter(400, 40_000)
    assert "an answer to 7 texts or sentences (700 tokens) within 0.010 s" in str(
        refusal(slow, 7, 700, seconds_left=0.01)
    )


def test_nobody_is_told_to_wait_longer_than_what_waits_now_does() -> None:
    admission = learned(max_seconds=4.0)
    admission.measure(1, 100, 60.0)  # as if the machine had stood still
    admission.enter(512, 51_200)
    assert refusal(admission, 1, 0).retry_seconds == 4
