"""What a teacher is worth on validation, and the machine that found it."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.mixture import LABELS, Example


def measured(held: Sequence[Example], logits: NDArray[np.float32]) -> dict[str, Any]:
    """Accuracy by source and by domain, over the texts that have a label (neutral sentences have none).

    `recall` is the mean over the labels; `mean_of_domains` weighs every domain alike; `cross_entropy` is that of all
    texts, neutral ones too, under their soft targets, in nats.
    """
    labels = np.array([-1 if example.label is None else example.label for example in held])
    targets = np.array([example.target for example in held], np.float64)
    sources = np.array([example.source for example in held])
    domains = np.array([example.domain for example in held])
    right = logits.argmax(axis=1) == labels
    margin = (logits[:, 1] - logits[:, 0]).astype(np.float64)
    losses = np.logaddexp(0, margin) - targets * margin
    figures: dict[str, Any] = {}
    for source in sorted(set(sources.tolist())):
        rows = (sources == source) & (labels >= 0)
        figures[source] = {
            "texts": int(rows.sum()),
            "accuracy": float(right[rows].mean()),
            "recall": float(np.mean([right[rows & (labels == value)].mean() for value in range(len(LABELS))])),
            "cross_entropy": float(losses[sources == source].mean()),
        }
        if by_domain := sorted(set(domains[rows].tolist()) - {""}):
            each = {domain: float(right[rows & (domains == domain)].mean()) for domain in by_domain}
            figures[source] |= {"domains": each, "mean_of_domains": float(np.mean(list(each.values())))}
    return {"sources": figures, "mean_of_sources": float(np.mean([of["accuracy"] for of in figures.values()]))}


def machine(device: torch.device) -> str:
    """What a card names: the processor and its cores, or the GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    names = [line.split(":", 1)[1].strip() for line in _cpu_lines() if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
