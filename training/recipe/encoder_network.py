"""The teacher's network: a pretrained encoder, mean pooling, one linear layer; and the word pieces that it reads."""

import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import log_softmax

from training.data.sources import DataError

MAX_PIECES = 128


@dataclass(frozen=True)
class Pieces:
    """Texts as windows of at most MAX_PIECES word pieces."""

    ids: NDArray[np.int32]  # [total pieces]
    offsets: NDArray[np.int64]  # [window + 1]
    texts: NDArray[np.int64]  # [window] the text of which it is

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[window]"""
        return np.diff(self.offsets)

    def batch(self, rows: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
        """Ids int64 [batch, time], padded with 0 at the end, and lengths int64 [batch], of `rows`."""
        lengths = self.lengths[rows]
        ids = np.zeros((len(rows), int(lengths.max())), np.int64)
        for place, row in enumerate(rows.tolist()):
            ids[place, : lengths[place]] = self.ids[self.offsets[row] : self.offsets[row + 1]]
        return torch.from_numpy(ids).to(device), torch.from_numpy(lengths).to(device)


class Teacher(nn.Module):
    """Logits of the labels from the mean of the encoder's last states."""

    def __init__(self, encoder: Any, labels: int) -> None:
        """`encoder`: a Hugging Face model of texts; `labels`: how many there are."""
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.config.hidden_size, labels)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits float32 [batch, label]; `ids` int [batch, time] padded at the end, `lengths` int [batch] >= 1."""
        logits: Tensor = self.head(self.mean(ids, lengths).to(self.head.weight.dtype)).float()
        return logits

    def mean(self, ids: Tensor, lengths: Tensor) -> Tensor:
        """The mean of the encoder's last states, float32 [batch, hidden]."""
        real = torch.arange(ids.shape[1], device=ids.device) < lengths[:, None]  # [batch, time]
        states = self.encoder(input_ids=ids, attention_mask=real.long()).last_hidden_state
        mean: Tensor = (states * real[:, :, None]).sum(dim=1).float() / lengths[:, None]
        return mean


def open_encoder(name: str, labels: int, seed: int = 0) -> tuple[Teacher, Any]:
    """The network that starts from the encoder `name` (a folder or a hub's name), and its tokenizer. Raises DataError.

    Dropout on the attention's weights is turned off: without it the CPU's fused attention serves training too, which
    saves a fifth of a step on long texts.
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer, logging  # takes seconds: not at import

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        config = AutoConfig.from_pretrained(name)
        for attribute in ("attention_probs_dropout_prob", "attention_dropout"):
            if hasattr(config, attribute):
                setattr(config, attribute, 0.0)
        encoder, tokenizer = AutoModel.from_pretrained(name, config=config), AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{name}: expected a Hugging Face encoder (a folder with config.json, model.safetensors and "
            f"tokenizer.json, or a name while a hub is reached), found none ({str(error).splitlines()[0]}): fetch its "
            "files, put them into a folder and name that"
        ) from error
    if not tokenizer.is_fast:
        raise DataError(
            f"{name}: expected a tokenizer that tells the windows of a text, found none: add tokenizer.json"
        )
    torch.manual_seed(seed)
    return Teacher(encoder, labels), tokenizer


def save(teacher: Teacher, tokenizer: Any, folder: Path) -> None:
    """Writes `folder`: an ordinary Hugging Face folder, and beside it the linear layer as `head.safetensors`."""
    from safetensors.torch import save_file

    teacher.encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_file(teacher.head.state_dict(), folder / "head.safetensors")


def load(folder: Path, labels: int) -> tuple[Teacher, Any]:
    """What `save` wrote. Raises DataError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not (folder / "head.safetensors").exists():
        raise DataError(
            f"{folder}: expected a fitted teacher with head.safetensors, found none: name the folder of one, or none"
        )
    teacher, tokenizer = open_encoder(str(folder), labels)
    try:
        teacher.head.load_state_dict(load_file(folder / "head.safetensors"))
    except (SafetensorError, RuntimeError) as error:
        raise DataError(f"{folder}: expected a head of {labels} labels, found a damaged one ({error})") from error
    return teacher, tokenizer


def read_pieces(texts: Sequence[str], tokenizer: Any, whole: bool = False, step: int = 4096) -> Pieces:
    """Every text's word pieces with the tokenizer's special ones: its first window or, if `whole`, all of them."""
    ids: list[NDArray[np.int32]] = [np.zeros(0, np.int32)]
    lengths, of = [0], []
    for start in range(0, len(texts), step):
        part = [text.replace("<br />", "\n") for text in texts[start : start + step]]
        found = tokenizer(part, truncation=True, max_length=MAX_PIECES, return_overflowing_tokens=whole)
        ids += [np.array(window, np.int32) for window in found["input_ids"]]
        lengths += [len(window) for window in found["input_ids"]]
        of += [start + text for text in (found["overflow_to_sample_mapping"] if whole else range(len(part)))]
    return Pieces(np.concatenate(ids), np.cumsum(np.array(lengths, np.int64)), np.array(of, np.int64))


def loss_of(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of `logits` [batch, label] under soft `targets` [batch, label]."""
    return -(targets * log_softmax(logits, dim=1)).sum(dim=1).mean()


def choose_bf16(teacher: Teacher, ids: Tensor, lengths: Tensor) -> tuple[bool, str]:
    """Whether to compute in bfloat16, and the reason in words. One step of each is timed where the machine can.

    Leaves the weights as they are, and clears their gradients.
    """
    if ids.device.type == "cuda":
        able = torch.cuda.is_bf16_supported()
    else:
        able = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if not able:
        return False, f"float32: {platform.machine()} without AVX-512 BF16, AMX or a GPU's bfloat16"
    seconds = {}
    for bf16 in (False, True, False, True):  # the first of each also warms up
        started = time.perf_counter()
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=bf16):
            logits = teacher(ids, lengths)
        logits.square().mean().backward()
        if not bool(torch.isfinite(logits).all()):
            return False, "float32: bfloat16 gave numbers that are not finite"
        seconds[bf16] = time.perf_counter() - started
    teacher.zero_grad(set_to_none=True)
    faster = seconds[True] < seconds[False]
    return (
        faster,
        f"{'bfloat16' if faster else 'float32'}: a step takes {seconds[True]:.2f} s, {seconds[False]:.2f} s in float32",
    )
