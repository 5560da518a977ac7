"""A language model of both directions: what the embeddings and the LSTM learn from text without labels.

Each direction predicts the token that comes next in its order of reading (Dai and Le, 2015: an LSTM that starts from
such weights needs fewer labels). The softmax runs over the true token and a sample of others (Jean et al. 2015).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.fitting.loop import Batch
from training.network.bilstm import BiLSTM, locked_dropout, mirror

_SAMPLED = 256
_DROPOUT = 0.1


class LanguageModel(nn.Module):
    """The embedding and the LSTMs of `network`, under heads that predict the next token with the same embedding."""

    proposal: Tensor

    def __init__(self, network: BiLSTM, counts: NDArray[np.int64]) -> None:
        """`counts` [vocabulary]: how often each token stands in the training text."""
        super().__init__()
        self.network = network
        hidden_size, embedding_size = network.forward_lstm.hidden_size, network.embedding.embedding_dim
        self.heads = nn.ModuleList(nn.Linear(hidden_size, embedding_size) for _ in range(2))
        # A token's log-frequency is where its own bias would settle anyway.
        self.bias = nn.Parameter(torch.from_numpy(np.log((counts + 1) / counts.sum())).float())
        proposal = (counts + 1.0) ** 0.75  # word2vec's flattened frequencies (Mikolov et al. 2013)
        self.register_buffer("proposal", torch.from_numpy(proposal / proposal.sum()).float())

    def forward(self, token_ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, int]:
        """Mean cross-entropy of the next token among the sampled ones, how many were likeliest, how many there are.

        `token_ids` int [batch, time] padded at the end, `lengths` int [batch] >= 1.
        """
        network, by_time = self.network, token_ids.T
        steps = torch.arange(len(by_time), device=token_ids.device)[:, None]  # [time, 1]
        mirrored = mirror(steps, lengths)
        inputs = network.embedding(by_time)  # [time, batch, embedding]
        if self.training:
            inputs = locked_dropout(inputs, torch.full_like(lengths, _DROPOUT, dtype=torch.float32))
        sampled = self._sample()
        bias = self.bias - torch.log(self.proposal * _SAMPLED)
        followed = (steps + 1 < lengths)[:-1]  # [time - 1, batch]
        losses, right = [], torch.zeros((), dtype=torch.int64, device=token_ids.device)
        orders = (by_time, by_time.gather(0, mirrored))
        for states, order, head in zip(network.states(inputs, mirrored), orders, self.heads, strict=True):
            target = order[1:][followed]  # [prediction]
            expected = head(states[:-1][followed])  # [prediction, embedding]
            wanted = (expected * network.embedding(target)).sum(dim=1).float() + _looked_up(bias, target)
            others = (expected @ network.embedding(sampled).T).float() + _looked_up(bias, sampled)
            others = others.masked_fill(target[:, None] == sampled, float("-inf"))  # not against itself
            losses.append((torch.logaddexp(wanted, others.logsumexp(dim=1)) - wanted).sum())
            right += (wanted > others.max(dim=1).values).sum()
        count = 2 * int(followed.sum())
        return torch.stack(losses).sum() / max(1, count), right, count

    def _sample(self) -> Tensor:
        """[_SAMPLED] token ids; the same ones every time outside of training, so that losses compare."""
        if self.training:
            return torch.multinomial(self.proposal, _SAMPLED, replacement=True)
        generator = torch.Generator(self.proposal.device).manual_seed(0)
        return torch.multinomial(self.proposal, _SAMPLED, replacement=True, generator=generator)


def _looked_up(values: Tensor, ids: Tensor) -> Tensor:
    """`values[ids]`, whose own gradient the threads of a CPU add up in any order: no run would be like another."""
    return nn.functional.embedding(ids, values[:, None]).squeeze(-1)


def predict_next(model: LanguageModel, batch: Batch) -> tuple[Tensor, Tensor, int]:
    """The objective of `fit` for a language model: the targets are the texts themselves."""
    token_ids, lengths, _ = batch
    loss, right, count = model(token_ids, lengths)
    return loss, right, count
