"""Tokens put together as people write them."""

import pytest

from training.data import natural


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("It 's great .", "It's great."),
        ("I ca n't , I wo n't and I did n't !", "I can't, I won't and I didn't!"),
        ("They can not wait , they 're gon na go", "They cannot wait, they're gonna go"),
        ("-LRB- ever -RRB- the [ best ]", "(ever) the [best]"),
        ("the `` new '' Conan", 'the "new" Conan'),
        ('a " plain " one', 'a "plain" one'),
        ("' Some Body ' fails", "' Some Body' fails"),
        ("` Some Body ' fails", "'Some Body' fails"),
        ("the filmmakers ' eyes", "the filmmakers' eyes"),
        ("co-writer\\/director and \\*\\*\\* out of 5", "co-writer/director and *** out of 5"),
        ("pay $ 10 for # 1 , 5 % off", "pay $10 for #1, 5% off"),
        ("well ... yes -- no", "well... yes -- no"),
        ("it`s fine", "it's fine"),
        ("", ""),
    ],
)
def test_spaces_stand_where_people_put_them(tokens: str, text: str) -> None:
    assert natural.join(tokens.split()) == text


def test_no_character_is_lost() -> None:
    tokens = r"`` A -LRB- b ' -RRB- c '' ca n't \/ d ... 's $ ; e ` f"
    written = natural.join(tokens.split(" "))
    assert "".join(written.split()) == "\"A(b')c\"can't/d...'s$;e'f"
