"""Steps that an answer must not hang on: how long they are, where they lead, and what they teach."""

import numpy as np
import pytest
import torch
from torch import Tensor

from training import adversarial
from training.examples import Examples
from training.fit import Plan, State, evaluate, fit
from training.model import BiLSTM

LENGTHS = torch.tensor([20, 15, 5, 1])


def network(seed: int = 0, labels: int = 2) -> BiLSTM:
    torch.manual_seed(seed)
    model = BiLSTM(50, 8, 8, labels, "pooled")
    torch.nn.init.normal_(model.embedding.weight)
    return model.train()


def texts() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(2, 50, (4, 20), generator=generator) * (torch.arange(20) < LENGTHS[:, None])


def step(model: BiLSTM, size: float) -> tuple[Tensor, Tensor]:
    inputs = model.embed(texts(), LENGTHS).detach().requires_grad_()
    return inputs, adversarial._worst(size, inputs, model.judge(inputs, texts(), LENGTHS), LENGTHS).detach()


def test_a_step_is_as_long_as_asked_and_moves_no_padding() -> None:
    inputs, found = step(network(), 3.0)
    real = torch.arange(20)[:, None] < LENGTHS
    torch.testing.assert_close(found.norm(dim=(0, 2)), torch.full((4,), 3 * inputs.detach()[real].std().item()))
    assert not found[~real].any()


@pytest.mark.parametrize("labels", [2, 3])
def test_no_other_direction_takes_more_of_the_lead(labels: int) -> None:
    model = network(labels=labels)
    inputs, worst = step(model, 0.01)
    order = model.judge(inputs, texts(), LENGTHS).argsort(dim=1, descending=True)

    def lead(at: Tensor) -> Tensor:
        logits = model.judge(at, texts(), LENGTHS).gather(1, order)
        return (logits[:, 0] - logits[:, 1]).detach()

    lost = lead(inputs) - lead(inputs + worst)
    assert (lost > 0).all()
    generator = torch.Generator().manual_seed(2)
    for _ in range(20):
        aside = torch.randn(worst.shape, generator=generator) * (worst != 0)
        other = worst + aside * 0.5 * worst.norm(dim=(0, 2), keepdim=True) / aside.norm(dim=(0, 2), keepdim=True)
        other *= worst.norm(dim=(0, 2), keepdim=True) / other.norm(dim=(0, 2), keepdim=True)
        assert (lead(inputs) - lead(inputs + other) < lost).all()


def test_for_two_labels_it_is_where_the_power_method_ends() -> None:
    model = network()
    inputs, worst = step(model, 1.0)
    said = model.judge(inputs, texts(), LENGTHS).log_softmax(dim=1).detach()
    direction = torch.randn(worst.shape, generator=torch.Generator().manual_seed(3))
    for _ in range(10):
        near = (0.05 * direction / direction.norm(dim=(0, 2), keepdim=True)).requires_grad_()
        beside = model.judge(inputs.detach() + near, texts(), LENGTHS).log_softmax(dim=1)
        [direction] = torch.autograd.grad(((said - beside) * said.exp()).sum(), near)
    cosine = (direction * worst).sum(dim=(0, 2)) / direction.norm(dim=(0, 2)) / worst.norm(dim=(0, 2))
    assert (cosine.abs() > 0.98).all()


def test_only_labelled_texts_count_and_evaluation_takes_no_step() -> None:
    model, judge = network(), adversarial.objective(5.0)
    targets = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    loss, _, count = judge(model, (texts(), LENGTHS, targets))
    unlabelled_loss, right, none = judge(model, (texts(), LENGTHS, torch.zeros(4, 2)))
    assert (count, int(right), none) == (2, 0, 0)
    assert unlabelled_loss > 0  # the step alone
    model.eval()
    plain, _, _ = judge(model, (texts(), LENGTHS, targets))
    logits = model(texts(), LENGTHS)[[0, 2]]
    torch.testing.assert_close(plain, torch.nn.functional.cross_entropy(logits, torch.tensor([0, 1])))
    torch.testing.assert_close(loss, plain + unlabelled_loss)
    assert judge(model, (texts(), LENGTHS, torch.zeros(4, 2)))[0] == 0


def test_what_it_trains_withstands_the_steps() -> None:
    generator = np.random.default_rng(0)
    token_ids = generator.integers(2, 50, 1200).astype(np.int32)
    starts = np.arange(0, 1200, 12)
    targets = np.eye(2, dtype=np.float32)[(token_ids[starts] > 25).astype(int)]  # the first token decides
    examples = Examples(token_ids, starts, starts + 12, targets)
    plan = Plan(epochs=30, batch_size=20, learning_rate=0.01, keep="last")
    token_ids_of_all, lengths = torch.from_numpy(token_ids.reshape(100, 12).astype(np.int64)), torch.full((100,), 12)
    turned = []
    for size in (1e-6, 2.0):
        model = network(3)
        state = State.start(model, plan)
        for _ in fit(state, plan, lambda epoch: examples, examples, 1, "fp32", adversarial.objective(size)):
            pass
        assert evaluate(model, examples, "fp32")[1] > 0.9
        inputs = model.train().embed(token_ids_of_all, lengths)
        before = model.judge(inputs, token_ids_of_all, lengths)
        worst = adversarial._worst(1.0, inputs, before, lengths)
        after = model.judge(inputs + worst, token_ids_of_all, lengths)
        turned.append(int((before.argmax(dim=1) != after.argmax(dim=1)).sum()))
    assert turned[0] > 15
    assert turned[1] < 5


def test_broken_off_it_ends_the_same() -> None:
    generator = np.random.default_rng(1)
    token_ids = generator.integers(2, 50, 240).astype(np.int32)
    starts = np.arange(0, 240, 12)
    targets = np.eye(2, dtype=np.float32)[generator.integers(0, 2, 20)]
    targets[::3] = 0
    examples = Examples(token_ids, starts, starts + 12, targets)
    plan = Plan(epochs=2, batch_size=5, learning_rate=0.01, average_decay=0.9, keep="last")

    def end(state: State, steps: int | None = None) -> State:
        objective = adversarial.objective(2.0)
        for done, _ in enumerate(fit(state, plan, lambda epoch: examples, examples, 1, "fp32", objective), 1):
            if done == steps:
                break
        return state

    torch.manual_seed(5)
    whole = end(State.start(network(), plan))
    torch.manual_seed(5)
    snapshot = end(State.start(network(), plan), steps=3).snapshot()
    again = State.start(network(seed=9), plan)
    torch.manual_seed(99)
    again.restore(snapshot)
    end(again)
    assert again.history == whole.history
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
