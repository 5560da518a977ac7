import math
import re
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from training.fitting.examples import Examples, batches_of, beside_neutral, part_of, with_sentences, with_texts
from training.fitting.loop import (
    Epoch,
    Plan,
    Precision,
    State,
    choose_precision,
    evaluate,
    fit,
    learning_rate,
    predict,
)
from training.network.bilstm import BiLSTM, Head, locked_dropout
from training.recipe import linear_teacher

CPU = torch.device("cpu")


def examples(count: int, seed: int = 0) -> Examples:
    """Texts of random words whose label tells which of two words they hold."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(3, 30, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    token_ids = generator.integers(4, 50, offsets[-1]).astype(np.int32)
    labels = generator.integers(0, 2, count)
    token_ids[offsets[:-1] + 1] = 2 + labels
    return Examples(token_ids, offsets[:-1], offsets[1:], np.eye(2, dtype=np.float32)[labels])


def network(head: Head = "pooled", dropout: float = 0.2) -> BiLSTM:
    torch.manual_seed(3)
    return BiLSTM(50, 8, 8, 2, head, 8, dropout, dropout, dropout)


PLAN = Plan(epochs=3, batch_size=8, learning_rate=0.02, one_cycle=True, clip=1.0, average_decay=0.9, patience=5)


def end(state: State, plan: Plan, train: Examples, precision: Precision = "fp32") -> list[Epoch]:
    for _ in fit(state, plan, lambda epoch: train, examples(20, 1), seed=7, precision=precision):
        pass
    return state.history


@pytest.mark.parametrize("head", ["pooled", "last"])
def test_it_learns_what_can_be_learned(head: Head) -> None:
    state = State.start(network(head, dropout=0.0), Plan(12, 8, 0.02))
    history = end(state, Plan(12, 8, 0.02), examples(80))
    assert evaluate(state.model, examples(80), "fp32")[1] == 1.0
    assert history[-1].train_loss < history[0].train_loss / 4


def spared(word: float = 0.0, features: float = 0.0) -> tuple[torch.Tensor, ...]:
    """Logits [2, label] in training, twice, and in evaluation, of a text that is short and one twice as long."""
    torch.manual_seed(4)
    model = BiLSTM(50, 8, 8, 2, "pooled", 8, word, features, 0.0, short_tokens=9)
    torch.nn.init.normal_(model.embedding.weight)
    token_ids = torch.randint(2, 50, (2, 18))
    token_ids[0, 9:] = 0
    lengths = torch.tensor([9, 18])
    return model.train()(token_ids, lengths), model(token_ids, lengths), model.eval()(token_ids, lengths)


def test_short_texts_keep_their_words() -> None:
    first, again, evaluated = spared(word=0.9)
    assert torch.equal(first[0], again[0])
    torch.testing.assert_close(first[0], evaluated[0])
    assert not torch.allclose(first[1], again[1])
    assert not torch.allclose(first[1], evaluated[1])


def test_short_texts_keep_more_features() -> None:
    shares = []

    def watched(inputs: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        shares.append(share.tolist())
        return inputs

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.network.bilstm.locked_dropout", watched)
        spared(features=0.3)
    assert shares == [[pytest.approx(0.1), pytest.approx(0.3)]] * 2  # and none in evaluation


def test_dropout_takes_the_same_features_of_a_text_at_every_step() -> None:
    torch.manual_seed(5)
    found = locked_dropout(torch.ones(7, 3, 1000), torch.tensor([0.0, 0.1, 0.5]))
    assert (found == found[0]).all()
    assert (found[0, 0] == 1).all()
    for row, share in ((1, 0.1), (2, 0.5)):
        torch.testing.assert_close(torch.unique(found[0, row]), torch.tensor([0, 1 / (1 - share)]))
        assert float((found[0, row] == 0).float().mean()) == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("precision", sorted({"fp32", choose_precision(CPU)}))
@pytest.mark.parametrize("stop", [1, 9, 10, 11, 17])
def test_a_run_broken_off_anywhere_ends_the_same(stop: int, precision: Precision) -> None:
    train = examples(80)  # ten batches an epoch
    whole = State.start(network(), PLAN)
    expected = end(whole, PLAN, train, precision)

    broken = State.start(network(), PLAN)
    for done, _ in enumerate(fit(broken, PLAN, lambda epoch: train, examples(20, 1), seed=7, precision=precision), 1):
        if done == stop:
            break
    snapshot = broken.snapshot()
    torch.manual_seed(99)  # another process knows nothing of the generator
    again = State.start(network(), PLAN)
    again.restore(snapshot)
    assert end(again, PLAN, train, precision) == expected
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_patience_ends_a_run_and_the_best_is_kept() -> None:
    plan = Plan(epochs=50, batch_size=8, learning_rate=0.3, patience=2)
    state = State.start(network(), plan)
    history = end(state, plan, examples(40))
    losses = [line.validation_loss for line in history]
    best = losses.index(min(losses))
    assert len(history) == best + 1 + 2 < 50
    assert evaluate(state.model, examples(20, 1), "fp32")[0] == pytest.approx(losses[best], rel=1e-5)


def test_progress_tells_where_it_stands() -> None:
    state = State.start(network(), PLAN)
    steps = list(fit(state, PLAN, lambda epoch: examples(20), examples(20, 1), seed=7, precision="fp32"))
    assert [(step.epoch, step.step, step.steps) for step in steps] == [(e, s, 3) for e in (1, 2, 3) for s in (1, 2, 3)]
    assert [step.finished is not None for step in steps] == [False, False, True] * 3
    assert sum(step.tokens for step in steps[:3]) == examples(20).lengths().sum()
    assert steps[2].improved


@given(st.lists(st.integers(1, 400), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 3))
def test_every_example_once_an_epoch(lengths: list[int], batch_size: int, epoch: int) -> None:
    batches = batches_of(np.array(lengths), batch_size, 1, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
    assert max(len(batch) for batch in batches) <= batch_size
    again = batches_of(np.array(lengths), batch_size, 1, epoch)
    assert [batch.tolist() for batch in batches] == [batch.tolist() for batch in again]


def test_the_cycle_goes_up_and_down() -> None:
    rates = [learning_rate(PLAN, step, 100) for step in range(100)]
    assert rates.index(max(rates)) in (9, 10)
    assert max(rates) == PLAN.learning_rate
    assert rates[-1] < PLAN.learning_rate / 100
    assert learning_rate(Plan(1, 1, 0.5), 3, 100) == 0.5


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.sampled_from(["pooled", "last"]))
def test_padding_changes_nothing(lengths: list[int], head: Head) -> None:
    model = network(head).eval()
    generator = np.random.default_rng(sum(lengths))
    token_ids = torch.from_numpy(generator.integers(1, 50, (len(lengths), 25)))  # rubbish after each text's end
    with torch.inference_mode():
        together = model(token_ids, torch.tensor(lengths))
        for row, length in enumerate(lengths):
            alone = model(token_ids[row : row + 1, :length], torch.tensor([length]))
            torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("labels", [2, 3])
def test_the_teacher_judges_what_it_has_not_seen(labels: int) -> None:
    words = ["good", "bad", "odd"][:labels]
    documents = [[words[i % labels], "film", str(i % 7)] for i in range(30 * labels)]
    given_labels = np.arange(30 * labels, dtype=np.int32) % labels
    rows = np.arange(len(documents))
    folds = linear_teacher.fit(lambda chosen: (documents[row] for row in chosen), rows, given_labels)
    soft = folds.judge(lambda chosen: (documents[row] for row in chosen), rows, folds.fold_of)
    last = np.full(labels, linear_teacher.FOLDS)
    rest = folds.judge(lambda chosen: (documents[row] for row in chosen), rows[:labels], last)
    assert soft.shape == (30 * labels, labels)
    assert (soft.argmax(axis=1) == given_labels).all()
    assert rest.argmax(axis=1).tolist() == list(range(labels))
    np.testing.assert_allclose(soft.sum(axis=1), 1, atol=1e-5)


def test_a_teacher_cannot_repeat_labels_it_was_not_shown() -> None:
    # Labels without any reason: out of fold, a model that had seen them would still get them right.
    generator = np.random.default_rng(0)
    documents = [[f"only-here-{row}", "film"] for row in range(400)]
    given_labels = generator.integers(0, 2, 400).astype(np.int32)
    rows = np.arange(400)
    folds = linear_teacher.fit(lambda chosen: (documents[row] for row in chosen), rows, given_labels)
    soft = folds.judge(lambda chosen: (documents[row] for row in chosen), rows, folds.fold_of)
    assert 0.35 < (soft.argmax(axis=1) == given_labels).mean() < 0.65


def test_ngrams() -> None:
    assert linear_teacher.ngrams(["a", "b", "c"]) == ["a", "b", "c", "a b", "b c", "a b c"]
    assert linear_teacher.ngrams(["a"]) == ["a"]


def test_sentences_stand_beside_their_reviews_with_the_same_target() -> None:
    targets = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    reviews = Examples(np.full(19, 3, np.int32), np.array([0, 13]), np.array([10, 19]), targets)
    borders = [np.array([0, 5, 8, 10]), np.array([13, 18])]
    found = with_sentences(reviews, borders, each=2, seed=1, epoch=0)
    # Of three tokens and of two is too short; what stands after the last border is no sentence.
    assert list(zip(found.starts, found.ends, strict=True)) == [(0, 10), (13, 19), (0, 5), (13, 18)]
    assert np.array_equal(found.targets, targets[[0, 1, 0, 1]])


def test_every_epoch_shows_other_sentences_and_as_many() -> None:
    reviews = Examples(np.full(120, 3, np.int32), np.array([0, 60]), np.array([60, 120]), np.eye(2, dtype=np.float32))
    borders = [np.arange(0, 64, 4), np.arange(60, 124, 4)]
    draws = [with_sentences(reviews, borders, 3, seed=1, epoch=epoch).starts.tolist() for epoch in (0, 1, 0)]
    assert len(draws[0]) == len(draws[1]) == 2 + 6
    assert draws[0] == draws[2] != draws[1]


def test_neutral_sentences_stand_beside_some_reviews_whose_targets_stay() -> None:
    ids = np.array([*range(100, 140), 1, 2, 3, 4, 5, 6, 7], np.int32)
    targets = np.array([[0.1, 0.9], [0.8, 0.2], [0.7, 0.3]], np.float32)
    examples = Examples(ids, np.array([0, 20, 40]), np.array([20, 40, 42]), targets)
    neutral = Examples(ids, np.array([42, 44]), np.array([44, 47]), np.full((2, 2), 0.5, np.float32))
    chosen = np.array([0, 1])

    def texts(most: int, seed: int = 1, neutral: Examples = neutral) -> list[list[int]]:
        found = beside_neutral(examples, chosen, neutral, most, np.random.default_rng(seed))
        assert found.targets.tolist() == targets.tolist()
        return [found.token_ids[start:end].tolist() for start, end in zip(found.starts, found.ends, strict=True)]

    plain = [ids[:20].tolist(), ids[20:40].tolist(), [1, 2]]
    before = []
    for seed in range(10):
        *changed, unchanged = texts(400, seed)
        assert unchanged == plain[2]  # it is not chosen
        for text, own in zip(changed, plain[:2], strict=True):
            before.append(text[-20:] == own)
            beside = text[:-20] if before[-1] else text[20:]
            assert text == (beside + own if before[-1] else own + beside)
            assert 20 <= len(beside) <= 300
            assert re.fullmatch("(34|567)*(3|5|56)?", "".join(map(str, beside)))  # the last sentence may be cut
            assert {3, 4, 5, 6, 7} == set(beside)
    assert set(before) == {False, True}
    found = beside_neutral(examples, chosen, neutral, 400, np.random.default_rng(1))
    assert found.token_ids[: len(ids)].tolist() == ids.tolist()
    assert texts(400, 1) == texts(400, 1) != texts(400, 2)
    assert [len(text) for text in texts(most=21)] == [21, 21, 2]  # there is room for one token
    assert texts(most=19) == texts(400, neutral=neutral.at(np.array([], np.int64))) == plain


def test_texts_too_short_for_sentences_are_shown_whole() -> None:
    reviews = Examples(np.array([3, 3], np.int32), np.array([0]), np.array([2]), np.eye(2, dtype=np.float32)[:1])
    assert len(with_sentences(reviews, [np.array([0, 2])], 2, seed=1, epoch=0)) == 1


def test_texts_of_their_own_are_added() -> None:
    reviews = Examples(np.array([3, 4, 5], np.int32), np.array([0]), np.array([2]), np.eye(2, dtype=np.float32)[:1])
    texts = [np.array([7, 8, 9], np.int32), np.array([6], np.int32)]
    found = with_texts(reviews, texts, np.array([[0.1, 0.9], [0.8, 0.2]], np.float32))
    token_ids, lengths, targets = found.batch(np.arange(3), CPU)
    shown = [row[:length].tolist() for row, length in zip(token_ids, lengths.tolist(), strict=True)]
    assert shown == [[3, 4], [7, 8, 9], [6]]
    np.testing.assert_allclose(targets, [[1.0, 0.0], [0.1, 0.9], [0.8, 0.2]], rtol=1e-6)


@given(st.integers(0, 200), st.floats(0.01, 1), st.integers(0, 5))
def test_a_part_is_as_large_in_every_epoch_and_all_come_in_turn(count: int, share: float, seed: int) -> None:
    places = 3 + 7 * np.arange(count)
    size = round(share * count) if share < 1 else count
    epochs = math.ceil(count / size) if size else 1
    draws = [part_of(places, share, seed, epoch).tolist() for epoch in range(2 * epochs)]
    assert {len(draw) for draw in draws} == {size}
    assert all(len(set(draw)) == size for draw in draws)  # none twice in one epoch
    for first in range(epochs if size else 0):
        assert set().union(*draws[first : first + epochs]) == set(places.tolist())
    shown = Counter(place for draw in draws for place in draw)
    assert max(shown.values(), default=0) - min(shown.values(), default=0) <= 1
    assert draws == [part_of(places, share, seed, epoch).tolist() for epoch in range(2 * epochs)]


def test_a_part_is_drawn_by_the_seed() -> None:
    assert part_of(np.arange(100), 0.5, 1, 0).tolist() != part_of(np.arange(100), 0.5, 2, 0).tolist()
    assert part_of(np.arange(100), 1.0, 1, 3).tolist() == list(range(100))


def test_the_loss_of_a_label_is_multiplied_by_its_weight() -> None:
    texts = examples(60)
    plain, _ = evaluate(network(), texts, "fp32")
    no, yes = (evaluate(network(), texts, "fp32", weights)[0] for weights in ((1.0, 0.0), (0.0, 1.0)))
    assert no + yes == pytest.approx(plain, rel=1e-5)
    assert evaluate(network(), texts, "fp32", (3.0, 0.5))[0] == pytest.approx(3 * no + 0.5 * yes, rel=1e-5)


def test_a_rare_label_that_counts_for_more_is_answered_more_often() -> None:
    rare = examples(300)
    labels = rare.targets.argmax(axis=1)
    kept = np.concatenate([np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)[:8]])
    rare = rare.at(kept)
    answers = []
    for weights in (None, (0.5, 10.0)):
        plan = Plan(epochs=2, batch_size=8, learning_rate=0.002, label_weights=weights)
        state = State.start(network(), plan)
        end(state, plan, rare)
        answers.append(int(predict(state.model, examples(200, 2), "fp32").argmax(axis=1).sum()))
    assert answers[0] < answers[1]
