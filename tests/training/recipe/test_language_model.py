from dataclasses import replace

import numpy as np
import pytest
import torch

from training.fitting.examples import Examples
from training.fitting.loop import Epoch, Plan, State, evaluate, fit
from training.network.bilstm import BiLSTM
from training.recipe.language_model import LanguageModel, predict_next

CPU = torch.device("cpu")
PLAN = Plan(epochs=4, batch_size=8, learning_rate=0.02, clip=1.0, keep="last")


def cycles(count: int, shortest: int = 1, seed: int = 0) -> Examples:
    """Texts that count up from anywhere in a circle of six tokens: each neighbour tells the next."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(shortest, 20, count)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    token_ids = np.concatenate([2 + (generator.integers(6) + np.arange(length)) % 6 for length in lengths])
    return Examples(token_ids.astype(np.int32), offsets[:-1], offsets[1:], np.zeros((count, 2), np.float32))


def language_model() -> LanguageModel:
    torch.manual_seed(3)
    return LanguageModel(BiLSTM(400, 8, 8, 2, "pooled"), cycles(80).counts(400))


def end(state: State, steps: int | None = None, plan: Plan = PLAN) -> list[Epoch]:
    train, validation = cycles(80), cycles(20, seed=1)
    for done, _ in enumerate(fit(state, plan, lambda epoch: train, validation, 7, "fp32", predict_next), 1):
        if done == steps:
            break
    return state.history


def test_both_directions_learn_what_comes_next() -> None:
    model = language_model()
    history = end(State.start(model, PLAN), plan=replace(PLAN, epochs=30))
    assert history[-1].validation_accuracy > 0.95
    assert history[-1].validation_loss < history[0].validation_loss / 4
    # Each direction alone, too: the mean could hide one that learned nothing.
    for lstm in (model.network.forward_lstm, model.network.backward_lstm):
        learned = {name: tensor.clone() for name, tensor in lstm.state_dict().items()}
        lstm.load_state_dict({name: -tensor for name, tensor in learned.items()})
        assert evaluate(model, cycles(20, seed=1), "fp32", predict_next)[1] < 0.7
        lstm.load_state_dict(learned)


def test_broken_off_it_ends_the_same() -> None:
    whole = State.start(language_model(), PLAN)
    expected = end(whole)
    broken = State.start(language_model(), PLAN)
    end(broken, steps=13)
    snapshot = broken.snapshot()
    again = State.start(language_model(), PLAN)
    torch.manual_seed(99)
    again.restore(snapshot)
    assert end(again) == expected
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name


def test_a_text_of_one_token_teaches_nothing_and_breaks_nothing() -> None:
    loss, right, count = language_model()(torch.tensor([[3], [4]]), torch.tensor([1, 1]))
    assert (loss.item(), int(right), count) == (0.0, 0, 0)


@pytest.mark.parametrize("padding", [0, 5])
def test_padding_is_not_predicted(padding: int) -> None:
    model = language_model().eval()
    token_ids = torch.nn.functional.pad(torch.tensor([[2, 3, 4, 5], [5, 6, 7, 0]]), (0, padding))
    loss, _, count = model(token_ids, torch.tensor([4, 3]))
    assert count == 2 * (3 + 2)
    assert loss.item() == pytest.approx(model(token_ids[:, :4], torch.tensor([4, 3]))[0].item(), rel=1e-5)


def test_texts_of_one_token_alone_end_with_nothing_learned() -> None:
    ones = Examples(np.array([2, 3, 4], np.int32), np.arange(3), np.arange(1, 4), np.zeros((3, 2), np.float32))
    state, plan = State.start(language_model(), PLAN), replace(PLAN, epochs=1)
    [step] = fit(state, plan, lambda epoch: ones, ones, 7, "fp32", predict_next)
    assert step.finished is not None
    assert (step.finished.train_loss, step.finished.validation_loss) == (0.0, 0.0)


def test_gradients_are_the_same_every_time() -> None:
    examples = cycles(2000, shortest=19)  # few tokens, each many times: whoever adds them up in any order shows
    batch = examples.batch(np.arange(len(examples)), CPU)
    found = set()
    for _ in range(10):
        model = language_model()
        predict_next(model, batch)[0].backward()  # type: ignore[no-untyped-call]
        assert model.bias.grad is not None
        found.add(tuple(model.bias.grad.tolist()))
    assert len(found) == 1
