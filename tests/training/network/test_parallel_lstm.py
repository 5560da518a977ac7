"""Both directions side by side give what they give one after the other."""

import pytest
import torch
from torch import Tensor, nn

from training.network import parallel_lstm


def run(threads: int, autocast: bool) -> list[Tensor]:
    torch.manual_seed(0)
    lstms = nn.LSTM(8, 16), nn.LSTM(8, 16)
    inputs = [torch.randn(12, 3, 8, requires_grad=True) for _ in range(2)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            found = parallel_lstm.states(lstms, (inputs[0], inputs[1]))
        (found[0].float().sum() - found[1].float().square().sum()).backward()  # type: ignore[no-untyped-call]
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            inferred = parallel_lstm.states(lstms, (inputs[0], inputs[1]))
    finally:
        torch.set_num_threads(before)
    gradients = [tensor.grad for lstm in lstms for tensor in lstm.parameters()] + [tensor.grad for tensor in inputs]
    assert all(gradient is not None for gradient in gradients)
    return [tensor.detach().float() for tensor in (*found, *inferred, *gradients)]  # type: ignore[union-attr]


@pytest.mark.parametrize("autocast", [False, True])
def test_side_by_side_is_one_after_the_other(autocast: bool) -> None:
    if autocast and "AVX512" not in torch.backends.cpu.get_cpu_capability():
        pytest.skip("no bf16 on this processor")
    tolerance = 2e-2 if autocast else 1e-5
    for side_by_side, in_turn in zip(run(2, autocast), run(1, autocast), strict=True):
        torch.testing.assert_close(side_by_side, in_turn, atol=tolerance, rtol=tolerance)


def test_modes_of_the_caller_hold_in_the_threads() -> None:
    lstms = nn.LSTM(4, 4), nn.LSTM(4, 4)
    inputs = torch.randn(5, 2, 4), torch.randn(5, 2, 4)
    with torch.no_grad():
        assert not parallel_lstm.states(lstms, inputs)[0].requires_grad
    with torch.inference_mode():
        assert parallel_lstm.states(lstms, inputs)[0].is_inference()
    assert parallel_lstm.states(lstms, inputs)[1].requires_grad
