"""LoRA fine-tuning: small matrices beside the layers of a frozen denoiser, through peft."""

from __future__ import annotations

import json
import warnings
from importlib.util import find_spec
from pathlib import Path

from torch import nn

from lingen_models.checkpoints.lora import LoraFacts, save_lora
from lingen_plugins.plugin_errors import NotHereError
from lingen_training.stages.pair import Pair
from lingen_training.training_recipe import LoraSection, Recipe

FILE = "lora.safetensors"
_ADAPTER = "default"


def add_adapter(pair: Pair, lora: LoraSection) -> None:
    """Put a LoRA that changes nothing yet on the layers of `pair.denoiser` that it names.

    From then on nothing else is trained. Raises NotHereError without peft, ValueError for a target
    that no layer has.
    """
    if find_spec("peft") is None:
        raise NotHereError("LoRAs are trained with the package peft: pip install 'lingen[lora]'")
    layers = {
        name.rpartition(".")[2]
        for name, part in pair.denoiser.blocks.named_modules()
        if isinstance(part, nn.Linear)
    }
    if strange := [name for name in lora.targets if name not in layers]:
        raise ValueError(f"lora.targets: no layer {strange[0]!r}; there are {sorted(layers)}")
    with warnings.catch_warnings(action="ignore"):  # of what peft imports
        from peft import LoraConfig, inject_adapter_in_model

        config = LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            target_modules=rf"blocks\..*\.(?:{'|'.join(lora.targets)})",
            bias="none",
        )
        inject_adapter_in_model(config, pair.denoiser, adapter_name=_ADAPTER)
    pair.has_adapter = True


def write_adapter(pair: Pair, recipe: Recipe, last_stage: str, base_sha256: str, out: Path) -> None:
    """Write the LoRA that is in `pair` into `out`, with the hash of the weights that it is for."""
    assert recipe.lora is not None
    tensors = {
        name.replace(f".{_ADAPTER}.", "."): part.detach().float()
        for name, part in pair.denoiser.named_parameters()
        if ".lora_" in name
    }
    training = {"recipe": json.loads(recipe.model_dump_json()), "last_stage": last_stage}
    facts = LoraFacts(base_sha256, recipe.lora.rank, recipe.lora.alpha)
    save_lora(out / FILE, tensors, facts, training)
