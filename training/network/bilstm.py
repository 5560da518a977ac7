"""The network: embedding, one bidirectional LSTM layer, pooling, a linear layer."""

from typing import Literal

import torch
from torch import Tensor, nn

from service.model.tokenizer import PADDING, UNKNOWN
from training.network import parallel_lstm

Head = Literal["pooled", "last"]

# Below every hidden state, which lies in (-1, 1): a masked step never wins the maximum.
_MASKED = -2.0
_OF_SHORT = 1 / 3  # of the embeddings' dropout, for short texts


class BiLSTM(nn.Module):
    """Logits [batch, label] of token ids [batch, time].

    The head "pooled" is one linear layer over the maximum and the mean of the states, so that each time step's share
    of every logit can be told; "last" is a hidden layer of ReLUs over the two last states, then, for two labels, a
    single unit whose logit stands against 0.

    In training no word of a text of at most `short_tokens` is dropped, and a third of the features that are dropped of
    longer texts: what remained of a short text would often say the contrary.
    """

    def __init__(
        self,
        vocabulary_size: int,
        embedding_size: int,
        hidden_size: int,
        labels: int,
        head: Head,
        dense_size: int = 64,
        word_dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        head_dropout: float = 0.0,
        short_tokens: int = 0,
    ) -> None:
        super().__init__()
        self.head, self.labels, self.short_tokens = head, labels, short_tokens
        self.word_dropout, self.embedding_dropout = word_dropout, embedding_dropout
        self.embedding = nn.Embedding(vocabulary_size, embedding_size, padding_idx=PADDING)
        # Two layers of one direction each, the second fed the text reversed: a bidirectional nn.LSTM would need
        # packing to keep its backward half off the padding, and packing leaves oneDNN's fast path.
        self.forward_lstm = nn.LSTM(embedding_size, hidden_size)
        self.backward_lstm = nn.LSTM(embedding_size, hidden_size)
        self.head_dropout = nn.Dropout(head_dropout)
        if head == "last":
            self.hidden = nn.Linear(2 * hidden_size, dense_size)
            self.output = nn.Linear(dense_size, 1 if labels == 2 else labels)
        else:
            self.output = nn.Linear(4 * hidden_size, labels)
        self._initialise()

    def _initialise(self) -> None:
        """Keras' and Jozefowicz et al.'s (2015) start: orthogonal recurrence, forget gate open."""
        nn.init.uniform_(self.embedding.weight, -0.05, 0.05)
        for lstm in (self.forward_lstm, self.backward_lstm):
            parameters = dict(lstm.named_parameters())
            nn.init.xavier_uniform_(parameters["weight_ih_l0"])
            nn.init.orthogonal_(parameters["weight_hh_l0"])
            nn.init.zeros_(parameters["bias_ih_l0"])
            nn.init.zeros_(parameters["bias_hh_l0"])
            forget_gate = slice(lstm.hidden_size, 2 * lstm.hidden_size)
            nn.init.ones_(parameters["bias_ih_l0"][forget_gate])
        for layer in (self.hidden, self.output) if self.head == "last" else (self.output,):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """`token_ids` int [batch, time] padded at the end, `lengths` int [batch] >= 1 -> float32 [batch, label]."""
        if self.head == "pooled":
            logits: Tensor = self.output(self.head_dropout(self.pooled(token_ids, lengths)))
            return logits
        states, _ = self._run(token_ids, lengths)
        last = states[lengths - 1, torch.arange(len(lengths), device=states.device)]  # [batch, 2 * hidden]
        logits = self.output(self.hidden(last).relu())
        return torch.cat([torch.zeros_like(logits), logits], dim=1) if self.labels == 2 else logits

    def pooled(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """What the last layer reads of the same inputs, [batch, 4 * hidden]: maxima of the states, then means."""
        states, real = self._run(token_ids, lengths)
        highest = states.masked_fill(~real, _MASKED).max(dim=0).values  # [batch, 2 * hidden]
        mean = states.masked_fill(~real, 0.0).sum(dim=0) / lengths[:, None]  # [batch, 2 * hidden]
        return torch.cat([highest, mean], dim=1)

    def _run(self, token_ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """States [time, batch, 2 * hidden], whose second half runs backwards, which pooling does not mind; and which
        steps are real, [time, batch, 1]."""
        inputs = self._embed(token_ids, lengths > self.short_tokens)
        steps = torch.arange(len(inputs), device=inputs.device)[:, None]  # [time, 1]
        states = torch.cat(self.states(inputs, mirror(steps, lengths)), dim=-1).float()
        return states, (steps < lengths)[:, :, None]

    def _embed(self, token_ids: Tensor, long: Tensor) -> Tensor:
        """[time, batch, embedding], the LSTM's own layout, dropped out; words of the `long` [batch] texts alone."""
        if self.training and self.word_dropout:
            dropped = torch.rand(token_ids.shape, device=token_ids.device) < self.word_dropout
            token_ids = token_ids.masked_fill(dropped & long[:, None], UNKNOWN)
        inputs: Tensor = self.embedding(token_ids.T)
        if self.training and self.embedding_dropout:
            inputs = locked_dropout(inputs, self.embedding_dropout * torch.where(long, 1.0, _OF_SHORT))
        return inputs

    def states(self, inputs: Tensor, mirrored: Tensor) -> tuple[Tensor, Tensor]:
        """[time, batch, embedding] -> both directions' states, the second in its own order: last token first."""
        reversed_inputs = inputs.gather(0, mirrored[:, :, None].expand_as(inputs))
        return parallel_lstm.states((self.forward_lstm, self.backward_lstm), (inputs, reversed_inputs))


def mirror(steps: Tensor, lengths: Tensor) -> Tensor:
    """Where each step of a text reversed in place comes from, padding staying at the end: int [time, batch]."""
    return torch.where(steps < lengths, lengths - 1 - steps, steps)


def locked_dropout(inputs: Tensor, shares: Tensor) -> Tensor:
    """Drops the same features at every step of a text (Gal and Ghahramani 2016): `inputs` [time, batch, feature].

    `shares` [batch] of each text's features go. A mask a step would take a seventh of the whole training time, and an
    LSTM sees through it.
    """
    kept = torch.rand(inputs.shape[1:], device=inputs.device) >= shares[:, None]  # [batch, feature]
    return inputs * (kept / (1 - shares[:, None])).to(inputs.dtype)
