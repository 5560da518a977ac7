"""Two LSTMs that know nothing of each other, side by side on a CPU: each direction on its own half of the threads.

A time step of a small network is too little work to share: both threads on one direction after the other take up to
half as long again as a thread on each.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn


def states(lstms: tuple[nn.LSTM, nn.LSTM], inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Each LSTM's states [time, batch, hidden] of its own inputs [time, batch, feature]."""
    if inputs[0].device.type != "cpu" or torch.get_num_threads() < 2:
        return lstms[0](inputs[0])[0], lstms[1](inputs[1])[0]
    parameters = [parameter for lstm in lstms for parameter in lstm.parameters()]
    found: tuple[Tensor, Tensor] = _SideBySide.apply(lstms, *inputs, *parameters)  # type: ignore[no-untyped-call]
    return found


class _SideBySide(torch.autograd.Function):
    """Each thread builds a graph of its own, and walks it back when the gradients have come."""

    @staticmethod
    def forward(context: Any, lstms: tuple[nn.LSTM, nn.LSTM], *tensors: Tensor) -> tuple[Tensor, ...]:
        # A thread has its own modes.
        enabled, dtype = torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")
        wanted, inferring = any(context.needs_input_grad), torch.is_inference_mode_enabled()

        def run(lstm: nn.LSTM, inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
            with (
                torch.inference_mode(inferring),
                torch.set_grad_enabled(wanted),
                torch.autocast("cpu", dtype, enabled=enabled),
            ):
                inputs = inputs.detach().requires_grad_(wanted)
                return lstm(inputs)[0], [inputs, *lstm.parameters()]

        parts = _both(run, lstms, tensors[:2])
        if wanted:
            context.parts = parts
        return tuple(found.detach() for found, _ in parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        def run(part: tuple[Tensor, list[Tensor]], gradient: Tensor) -> tuple[Tensor, ...]:
            return torch.autograd.grad(*part, gradient)

        first, second = _both(run, context.parts, gradients)
        return None, first[0], second[0], *first[1:], *second[1:]


def _both(run: Callable[[Any, Any], Any], these: Any, those: tuple[Tensor, ...]) -> list[Any]:
    return list(_threads(torch.get_num_threads() // 2).map(run, these, those))


@cache
def _threads(each: int) -> ThreadPoolExecutor:
    """Two threads that compute with `each` threads of their own."""
    return ThreadPoolExecutor(2, "direction", torch.set_num_threads, (each,))
