"""Places for the networks of a pipeline: which of the ways of `diffusers` a card is large enough
for, from the sizes of the parts and what computing takes beside them.

Parts are counted. What decoding takes is counted too, on the meta device. What a pass of the
denoiser takes is estimated from its tokens and its width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from lingen_plugins.hub.families.wan_codec import decode_plain
from lingen_plugins.hub.weight_formats import Held, counter

if TYPE_CHECKING:
    from torch import nn

PLACES = {
    "whole": "everything is on the card",
    "model": "only the part that computes is on the card",
    "block": "the blocks of the parts come to the card one after the other",
    "leaf": "the layers of the parts come to the card one after the other",
    "disk": "the layers of the denoiser come to the card from the disk, one after the other",
    "cpu": "everything is on the CPU",
}
"""Ways to run, each with less on the card than the one before, and slower."""
OFFLOADS = {
    "auto": ("whole", "model", "block", "leaf", "disk", "cpu"),
    "none": ("whole",),
    "model": ("model",),
    "group": ("block", "leaf"),
    "disk": ("disk",),
}
"""`--offload` -> the places that are tried, in their order."""
SLACK = 1.05
"""Of what is counted: the allocator leaves gaps."""
LIBRARIES_BYTES = 300_000_000
"""Work space of cuDNN and cuBLAS."""
VALUES_PER_TOKEN = 18
"""Numbers that a pass holds at a time, for each token and each of its width."""
_DENOISERS = ("transformer", "unet")
_AUTOENCODER = "vae"
_AUTOENCODERS = (_AUTOENCODER, "audio_vae")
"""Parts whose methods pipelines call beside `forward`: they wait as a whole."""
_TILE = 256
"""Pixels per side of what a tiled decoding decodes at a time, where it does not say."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A network: bytes of all of it, of its largest block with what lies outside of blocks, and of
    its largest layer."""

    whole: int
    block: int
    leaf: int


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Bytes that a pipeline needs: of its parts, and while it samples and decodes."""

    parts: Mapping[str, Part]
    sampling: int
    decoding: int
    tiled: int
    """While it decodes in tiles; as `decoding` where it cannot."""

    def decodes_in_tiles(self, free: int) -> bool:
        """Tell whether a card with so much free is too small to decode any other way."""
        return self.tiled < self.decoding and not _fits(self._autoencoder + self.decoding, free)

    def on_card(self, place: str, *, tiled: bool = False) -> int:
        """The most that is on the card at a time."""
        decoding = self.tiled if tiled else self.decoding
        if place == "cpu":
            return 0
        if place == "whole":
            return sum(one.whole for one in self.parts.values()) + max(self.sampling, decoding)
        sizes = [self._autoencoder + decoding]
        for name, part in self.parts.items():
            beside = self.sampling if name.startswith(_DENOISERS) else 0
            if place == "model":
                sizes.append(part.whole + beside)
            elif name not in _AUTOENCODERS:
                held = part.block if place == "block" else 2 * part.leaf
                sizes.append(self._autoencoder + held + beside)
        return max(sizes)

    def places(self, offload: str, free: int, memory: int) -> list[str]:
        """The places that `--offload` allows, from the first that fits into what is free of the
        card; `memory` is what is free of the machine's own.

        The last of them comes alone where none fits: it is for the card to say so.
        """
        allowed = list(OFFLOADS[offload])
        total = sum(one.whole for one in self.parts.values())
        if "disk" in allowed[:-1] and total < memory:
            allowed.remove("disk")  # nothing is gained by reading it again and again
        tiled = self.decodes_in_tiles(free)
        for number, place in enumerate(allowed):
            if _fits(self.on_card(place, tiled=tiled), free):
                return allowed[number:]
        return allowed[-1:]

    def cannot_be(self, place: str, free: int) -> bool:
        """Tell whether the weights alone are too much for a card with so much free."""
        return replace(self, sampling=0, decoding=0, tiled=0).on_card(place) > free

    @property
    def largest(self) -> tuple[str, int]:
        """Name and bytes of the largest part."""
        return max(((name, one.whole) for name, one in self.parts.items()), key=lambda one: one[1])

    @property
    def _autoencoder(self) -> int:
        return sum(part.whole for name, part in self.parts.items() if name in _AUTOENCODERS)


def _fits(needed: int, free: int) -> bool:
    return SLACK * needed + LIBRARIES_BYTES <= free


def networks(pipe: Any) -> dict[str, nn.Module]:
    """The networks of a pipeline, by their parts."""
    from torch import nn

    return {name: one for name, one in pipe.components.items() if isinstance(one, nn.Module)}


def needs_of(
    pipe: Any,
    latents: tuple[int, int, int, int, int],
    bytes_each: Mapping[str, int] = MappingProxyType({}),
    held: Mapping[str, Held] = MappingProxyType({}),
    *,
    tiles: bool,
) -> Needs:
    """Count what a pipeline needs for latents (1, C, T, h, w); its networks may hold no numbers.

    `bytes_each` has the size of a number of a part as it computes, `held` that of one in a smaller
    format; others have that of what is loaded. `tiles` says that its images may be decoded in
    tiles.
    """
    parts = {}
    for name, network in networks(pipe).items():
        count = counter(network, held.get(name), bytes_each.get(name))
        parts[name] = Part(
            whole=count(network.parameters()),
            block=_block(network, count),
            leaf=max((count(one.parameters()) for one in _leaves(network)), default=0),
        )
    denoiser = getattr(pipe, "transformer", None) or pipe.transformer_2
    size = bytes_each.get("transformer", denoiser.dtype.itemsize)
    config = denoiser.config
    width = config.get("model_dim") or config.get("hidden_size")
    if not width and config.get("num_attention_heads") and config.get("attention_head_dim"):
        width = config["num_attention_heads"] * config["attention_head_dim"]
    patch = config.get("patch_size") or 1
    area = patch**2 if isinstance(patch, int) else math.prod(patch)
    tokens = math.prod(latents[2:]) / area
    decoding, tiled = _decoding(pipe.vae, latents, bytes_each.get(_AUTOENCODER))
    return Needs(
        parts=parts,
        sampling=int(tokens * (width or 3072) * VALUES_PER_TOKEN * size),
        decoding=decoding,
        tiled=tiled if tiles else decoding,
    )


def _leaves(network: nn.Module) -> Iterator[nn.Module]:
    return (one for one in network.modules() if not any(True for _ in one.children()))


def _block(network: nn.Module, count: Callable[[Any], int]) -> int:
    """Bytes of what lies outside of lists of blocks, and of two blocks: one computes while the next
    arrives."""
    from torch import nn

    lists = [one for one in network.children() if isinstance(one, nn.ModuleList | nn.Sequential)]
    if not lists:  # of a text encoder: one level down
        inner = [one for child in network.children() for one in child.children()]
        lists = [one for one in inner if isinstance(one, nn.ModuleList)]
    blocks = [count(block.parameters()) for one in lists for block in one]
    return count(network.parameters()) - sum(blocks) + 2 * max(blocks, default=0)


def _decoding(
    vae: Any, latents: tuple[int, int, int, int, int], scale: int | None
) -> tuple[int, int]:
    """Bytes that decoding holds, whole (or a latent frame at a time, where it can) and in tiles."""
    import torch
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=True):
        empty = type(vae).from_config(vae.config)
    empty.to(torch.float32 if (scale or vae.dtype.itemsize) == 4 else torch.bfloat16).eval()
    chunks = type(vae).__name__ == "AutoencoderKLWan"
    frames = min(latents[2], 3) if chunks else latents[2]
    _, channels, _, height, width = latents
    try:
        whole = _held(empty, (1, channels, frames, height, width), chunks=chunks)
        if not hasattr(vae, "enable_tiling"):
            return whole, whole
        ratio = getattr(vae, "spatial_compression_ratio", 8)
        side = max(1, getattr(vae, "tile_sample_min_height", _TILE) // ratio)
        tile = (1, channels, frames, min(side, height), min(side, width))
        pixels = 3 * 4 * (latents[2] * 8) * height * width * ratio**2  # of the video, as it grows
        return whole, min(whole, _held(empty, tile, chunks=chunks) + pixels)
    except (RuntimeError, NotImplementedError, ValueError, TypeError, ImportError, AttributeError):
        return (int(5 * 128 * empty.dtype.itemsize * frames * 4 * height * width * 64),) * 2


def _held(vae: Any, shape: tuple[int, ...], *, chunks: bool) -> int:
    import torch

    from lingen_models.live_bytes import LiveBytes

    latents, live = torch.zeros(shape, device="meta", dtype=vae.dtype), LiveBytes()
    with torch.inference_mode(), live:
        if chunks:
            for _ in decode_plain(vae, latents):
                pass
        else:
            beside = (latents.new_zeros(1),) if vae.config.get("timestep_conditioning") else ()
            vae.decode(latents, *beside, return_dict=False)
    return live.peak


def put(pipe: Any, place: str, device: str, folder: str | None = None) -> None:
    """Bring the networks of a pipeline, which are on the CPU, to a place. `folder` is for `disk`.

    Raises what torch raises where the card is too small.
    """
    import torch

    if place == "whole":
        pipe.to(device)
    elif place == "model":
        pipe.enable_model_cpu_offload(device=device)
    elif place != "cpu":
        hooks = import_module("diffusers.hooks")
        accelerate = import_module("accelerate")
        streams = torch.device(device).type == "cuda"
        for name, network in networks(pipe).items():
            if name in _AUTOENCODERS:
                accelerate.cpu_offload_with_hook(network, device)
                continue
            # Numbers that two layers share, as in many text encoders, do not survive the disk.
            on_disk = place == "disk" and name.startswith(_DENOISERS)
            hooks.apply_group_offloading(
                network,
                onload_device=torch.device(device),
                offload_device=torch.device("cpu"),
                offload_type="block_level" if place == "block" else "leaf_level",
                num_blocks_per_group=1,
                use_stream=streams,
                low_cpu_mem_usage=streams,
                offload_to_disk_path=f"{folder}/{name}" if on_disk else None,
            )


def take_back(pipe: Any) -> None:
    """Bring everything back to the CPU, from any place but `disk`."""
    registry = import_module("diffusers.hooks").HookRegistry
    pipe.remove_all_hooks()
    for network in networks(pipe).values():
        hooks = registry.check_if_exists_or_initialize(network)
        for name in (
            "group_offloading",
            "layer_execution_tracker",
            "lazy_prefetch_group_offloading",
        ):
            hooks.remove_hook(name, recurse=True)
    pipe.to("cpu")


def free_of_card(device: str) -> tuple[int, int, str]:
    """Bytes that are free on a card, all it has, and its name."""
    import torch

    free, total = torch.cuda.mem_get_info(device)
    return free, total, torch.cuda.get_device_name(device)


def free_memory() -> int:
    """Bytes of memory that the machine has free."""
    import psutil

    return int(psutil.virtual_memory().available)
