"""Folders with tiny random networks, in the files of real ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

SIDE = 32
"""Pixels of the images that they take."""
WORDS = ["<|startoftext|>", "<|endoftext|>", "a</w>", "red</w>", "ball</w>"]
"""What their tokenizer knows: the numbers of the words are their places."""
_PARTS = ["r", "e", "d</w>", "re", "b", "a", "l", "l</w>", "ba", "bal"]
_MERGES = ["r e", "re d</w>", "b a", "ba l", "bal l</w>"]
_SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
}


def tiny_dino(folder: Path) -> Path:
    """Fill a folder as that of facebook/dino-vitb16, whose checkpoint has no pooler."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(1)
    config = ViTConfig(image_size=SIDE, patch_size=8, initializer_range=0.5, **_SIZES)
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


def tiny_clip(folder: Path) -> Path:
    """Fill a folder as that of openai/clip-vit-base-patch32."""
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

    torch.manual_seed(2)
    words = WORDS + _PARTS
    text = {"vocab_size": len(words), "max_position_embeddings": 8, "eos_token_id": 1}
    config = CLIPConfig(
        text_config=_SIZES | text | {"bos_token_id": 0, "pad_token_id": 1},
        vision_config=_SIZES | {"image_size": SIDE, "patch_size": 8},
        projection_dim=8,
    )
    CLIPModel(config).save_pretrained(folder)
    vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
    vocabulary.write_text(json.dumps({word: number for number, word in enumerate(words)}))
    merges.write_text("\n".join(["#version: 0.2", *_MERGES, ""]))
    CLIPTokenizer(str(vocabulary), str(merges), unk_token=WORDS[1]).save_pretrained(folder)
    return folder
