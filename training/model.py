"""The network: embedding, one bidirectional LSTM layer, pooling, a linear layer."""

from typing import Literal

import torch
from torch import Tensor, nn

from service.tokenizer import PADDING, UNKNOWN

Head = Literal["pooled", "last"]

# Below every hidden state, which lies in (-1, 1): a masked step never wins the maximum.
_MASKED = -2.0


class BiLSTM(nn.Module):
    """Logits [batch, label] of token ids [batch, time].

    The head "pooled" is one linear layer over the maximum and the mean of the states, so that each time step's share
    of every logit can be told; "last" is a hidden layer of ReLUs over the two last states, then, for two labels, a
    single unit whose logit stands against 0.
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
    ) -> None:
        super().__init__()
        self.head, self.labels, self.word_dropout = head, labels, word_dropout
        self.embedding = nn.Embedding(vocabulary_size, embedding_size, padding_idx=PADDING)
        # Two layers of one direction each, the second fed the text reversed: a bidirectional nn.LSTM would need
        # packing to keep its backward half off the padding, and packing leaves oneDNN's fast path.
        self.forward_lstm = nn.LSTM(embedding_size, hidden_size)
        self.backward_lstm = nn.LSTM(embedding_size, hidden_size)
        self.embedding_dropout = nn.Dropout(embedding_dropout)
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
        token_ids = token_ids.T  # [time, batch]: the LSTM's own layout
        if self.training and self.word_dropout:
            dropped = torch.rand(token_ids.shape, device=token_ids.device) < self.word_dropout
            token_ids = token_ids.masked_fill(dropped, UNKNOWN)
        inputs = self.embedding_dropout(self.embedding(token_ids))  # [time, batch, embedding]
        steps = torch.arange(len(token_ids), device=token_ids.device)[:, None]  # [time, 1]
        real = steps < lengths  # [time, batch]
        mirrored = torch.where(real, lengths - 1 - steps, steps)  # [time, batch]: each text reversed in place
        reversed_inputs = inputs.gather(0, mirrored[:, :, None].expand_as(inputs))
        states = torch.cat(
            [self.forward_lstm(inputs)[0], self.backward_lstm(reversed_inputs)[0]], dim=-1
        ).float()  # [time, batch, 2 * hidden]; pooling does not mind that the second half runs backwards
        return self._read(states, real, lengths)

    def _read(self, states: Tensor, real: Tensor, lengths: Tensor) -> Tensor:
        if self.head == "last":
            last = states[lengths - 1, torch.arange(len(lengths), device=states.device)]  # [batch, 2 * hidden]
            logits: Tensor = self.output(self.hidden(last).relu())
            return torch.cat([torch.zeros_like(logits), logits], dim=1) if self.labels == 2 else logits
        real = real[:, :, None]  # [time, batch, 1]
        highest = states.masked_fill(~real, _MASKED).max(dim=0).values  # [batch, 2 * hidden]
        mean = states.masked_fill(~real, 0.0).sum(dim=0) / lengths[:, None]  # [batch, 2 * hidden]
        pooled = torch.cat([highest, mean], dim=1)  # [batch, 4 * hidden]
        return self.output(self.head_dropout(pooled))  # type: ignore[no-any-return]
