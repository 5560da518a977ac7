"""A tiny encoder with random weights, and made-up data sets to teach it from."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import data_sets
from tests.support.repeatable import make_repeatable

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported: no test asks a hub

WORDS = """
    a and awful awfully books break broke can did does dull film films fine fun funny game go good great hours i it like
    lovely love my not number plot see still t s the this two use very warm work avoid fails twice came late saw is toys
    games _ , . ! ' ( ) 0 1 2 3 4 5 6 7 8 9 ##0 ##1 ##2 ##3 ##4 ##5 ##6 ##7 ##8 ##9 ##s ##e ##t
"""


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two layers and a WordPiece vocabulary of some seventy, as a Hugging Face folder."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    vocabulary = {piece: number for number, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS.split()])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    pieces = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    pieces.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=160,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def repeatable() -> Iterator[None]:
    """See `make_repeatable`."""
    with pytest.MonkeyPatch.context() as patch:
        make_repeatable(patch)
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of film reviews, trees and product reviews."""
    folder = tmp_path_factory.mktemp("data")
    data_sets.films(folder / "aclImdb", count=40)
    data_sets.treebank(folder / "trees")
    data_sets.products(folder / "fdu", count=60)
    return folder
