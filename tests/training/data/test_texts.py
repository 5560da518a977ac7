from hypothesis import given
from hypothesis import strategies as st

from training.data.texts import Texts

ANY = st.lists(st.text(st.characters()))  # surrogates, too, as a damaged file may hold them


@given(ANY)
def test_every_text_comes_back_as_it_was(given_texts: list[str]) -> None:
    texts = Texts()
    for count, text in enumerate(given_texts):
        assert len(texts) == count
        texts.append(text)
    assert [texts[row] for row in range(len(texts))] == given_texts
    assert len(texts) == len(given_texts)
