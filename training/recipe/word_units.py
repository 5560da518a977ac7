"""Units of the LSTM that carry a linear model of words, beside those of the network that a run starts from.

The unit of a column has its input and output gates open and its forget gate closed, so its state at a token is the
weight of that token alone. Mean pooling then gives the mean weight of a text's words, as a linear model over a bag of
words has it. Both directions have the same units, since they are of one size.
"""

import numpy as np
import torch
from torch import Tensor, nn

from service.model.tokenizer import PADDING, UNKNOWN
from training.network.bilstm import BiLSTM
from training.recipe.few_texts import Floats

_OPEN = 12.0  # a gate's bias: sigmoid(12) is 1 up to 6e-6


def widened(base: BiLSTM | None, vocabulary_size: int, weights: Floats, kernel: Floats, bias: Floats) -> BiLSTM:
    """`base`, or no network, with word units for the columns of `weights` [token, column] and another last layer.

    Tokens from the size of `base`'s vocabulary on are new to it: its own units read them as unknown words. `kernel`
    [4 * hidden + column, label] and `bias` [label] read what `base` pools and then the means of the word units.
    """
    columns = weights.shape[1]
    embedding_size = base.embedding.embedding_dim if base else 0
    hidden_size = base.forward_lstm.hidden_size if base else 0
    made = BiLSTM(vocabulary_size, embedding_size + columns, hidden_size + columns, len(bias), "pooled")
    with torch.no_grad():
        made.embedding.weight.copy_(_embedding(base, vocabulary_size, weights))
        _fill(made.forward_lstm, base.forward_lstm if base else None, columns)
        _fill(made.backward_lstm, base.backward_lstm if base else None, columns)
        made.output.weight.copy_(_last_layer(kernel, hidden_size, columns))
        made.output.bias.copy_(torch.from_numpy(bias))
    return made.eval()


def _embedding(base: BiLSTM | None, vocabulary_size: int, weights: Floats) -> Tensor:
    """[token, embedding]: what `base` has of each token, then what gives its weights as states."""
    states = torch.from_numpy(np.arctanh(np.arctanh(weights))).float()  # a state is tanh(tanh(input))
    states[PADDING] = 0
    if base is None:
        return states
    old = base.embedding.weight
    new = old[UNKNOWN].expand(vocabulary_size - len(old), -1)
    return torch.cat([torch.cat([old, new]), states], dim=1)


def _fill(lstm: nn.LSTM, old: nn.LSTM | None, columns: int) -> None:
    """Writes the weights of `lstm`: those of `old`, and its last units as word units."""
    made = {name.removesuffix("_l0"): parameter for name, parameter in lstm.named_parameters()}
    for parameter in made.values():
        nn.init.zeros_(parameter)
    size = lstm.hidden_size
    known, features = size - columns, lstm.input_size - columns
    before = dict(old.named_parameters()) if old is not None else {}
    for gate, constant in enumerate((_OPEN, -_OPEN, 0.0, _OPEN)):  # torch's order: input, forget, cell, output
        of_gate, of_old = slice(gate * size, gate * size + known), slice(gate * known, (gate + 1) * known)
        if before:
            made["weight_ih"][of_gate, :features] = before["weight_ih_l0"][of_old]
            made["weight_hh"][of_gate, :known] = before["weight_hh_l0"][of_old]
            made["bias_ih"][of_gate] = before["bias_ih_l0"][of_old] + before["bias_hh_l0"][of_old]
        made["bias_ih"][of_gate.stop : (gate + 1) * size] = constant
    cell = 2 * size + known
    made["weight_ih"][cell : cell + columns, features:] = torch.eye(columns)


def _last_layer(kernel: Floats, hidden_size: int, columns: int) -> Tensor:
    """[label, 4 * (hidden + column)] in the order of the pooling: maxima forward and backward, then means."""
    old, words = kernel[: 4 * hidden_size], kernel[4 * hidden_size :]
    parts = old.reshape(4, hidden_size, kernel.shape[1])
    nothing = np.zeros_like(words)  # of the maxima
    half = words / 2  # of the means, which are the same in both directions
    of_words = (nothing, nothing, half, half)
    joined = [np.concatenate([part, of]) for part, of in zip(parts, of_words, strict=True)]
    return torch.from_numpy(np.concatenate(joined).T.copy())
