"""Virtual adversarial training: what the network answers must not hang on a small step of its inputs.

The step is the worst one of its length (Miyato, Dai and Goodfellow 2017), so texts without labels teach too: the answer
beside a text must be the answer to it.
"""

from functools import partial

import torch
from torch import Tensor, nn

from training.fit import Batch, Objective
from training.model import BiLSTM


def objective(size: float) -> Objective:
    """Cross-entropy of the labels, where there are any, and divergence after a step of `size` of every text.

    A text has no label where its row of the targets is all zeros; the cross-entropy is the mean over those that have
    one. `size` is the Euclidean norm of a whole text's step, in standard deviations of what enters the LSTM, so that
    the network cannot escape it by growing its embeddings. Beside the text the head has a dropout of its own: the
    answer must not hang on that either (as in R-Drop, Wu et al. 2021).
    """
    return partial(_loss, size)


def _loss(size: float, model: BiLSTM, batch: Batch) -> tuple[Tensor, Tensor, int]:
    token_ids, lengths, targets = batch
    inputs = model.embed(token_ids, lengths)  # [time, batch, embedding]
    logits = model.judge(inputs, token_ids, lengths)
    labelled = targets.sum(dim=1) > 0
    count = int(labelled.sum())
    loss = -(targets * logits.log_softmax(dim=1)).sum() / max(1, count)
    if model.training:
        beside = model.judge(inputs + _worst(size, inputs, logits, lengths), token_ids, lengths)
        said = logits.detach().log_softmax(dim=1)
        loss = loss + nn.functional.kl_div(beside.log_softmax(dim=1), said, reduction="batchmean", log_target=True)
    return loss, ((logits.argmax(dim=1) == targets.argmax(dim=1)) & labelled).sum(), count


def _worst(size: float, inputs: Tensor, logits: Tensor, lengths: Tensor) -> Tensor:
    """The step [time, batch, embedding] that most lowers the likeliest label's lead over the next.

    For two labels and small steps it is where the power method of Miyato et al. ends, or that turned around: the
    divergence grows with the square of the lead's change. It costs one walk back.
    """
    first, second = logits.topk(2, dim=1).values.unbind(dim=1)
    [gradient] = torch.autograd.grad((first - second).sum(), inputs, retain_graph=True)
    real = (torch.arange(len(inputs), device=inputs.device)[:, None] < lengths)[:, :, None]
    deviation = inputs.detach()[real.expand_as(inputs)].std()
    norm = gradient.float().norm(dim=(0, 2), keepdim=True).clamp_min(1e-12)
    step: Tensor = -size * deviation * gradient / norm
    return step
