"""Floating-point operations of a step, from a configuration alone, without tensors.

Counted is what `torch.utils.flop_counter` counts: matrix products and convolutions, a multiply and
an add as two operations, each product as large as it is computed, with padding and with what a
mask hides. Elementwise work (norms, softmax, gates, the decays of the scan, passing states from
chunk to chunk), pooling and transposes are not counted: they take memory traffic, not products.
The scan is that of `kernels.ssd`; the Triton kernels do the same sums in larger chunks.

Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lingen_models.network_config import LinGenConfig

Shape = tuple[int, int, int]

PARTS = ("ma", "scan", "review", "rms", "tesa", "attention", "text", "ffn", "time", "embedding")
"""`ma`: the projections and the convolution around the scan, `scan`: state space duality,
`review`: projecting and reading the review tokens, `rms`: the scan's order (transposes: nothing
to count), `attention`: full attention of the DiT twin, `text`: text embedding and cross-attention,
`time`: timestep embedding and modulation, `embedding`: patches in and out."""

_FREQUENCIES = 256
"""Sinusoids of the timestep embedding."""


def token_grid(config: LinGenConfig, latent_shape: Shape) -> Shape:
    """Tokens in (t, h, w) for latents of (T, H, W). Raises ValueError where the patch does not
    divide H or W."""
    frames, high, wide = latent_shape
    _, tall, across = config.patch
    if high % tall or wide % across:
        raise ValueError(f"latents of {high}x{wide} are not divided by the {tall}x{across} patch")
    return frames, high // tall, wide // across


def step_flops(
    config: LinGenConfig,
    latent_shape: Shape,
    *,
    text_tokens: int | Sequence[int],
    batch: int = 1,
) -> dict[str, int]:
    """FLOPs of one forward pass, for each of `PARTS`.

    Args:
        config: LinGen or its DiT twin.
        latent_shape: latent frames, height, width.
        text_tokens: of each text encoder, or one number for all of them.
        batch: rows; a step with guidance has two for each video.

    Raises ValueError where the patch or the number of texts does not fit.
    """
    grid = token_grid(config, latent_shape)
    tokens, width = math.prod(grid), config.width
    texts = [text_tokens] * len(config.text_dims) if isinstance(text_tokens, int) else text_tokens
    if len(texts) != len(config.text_dims):
        raise ValueError(f"{len(texts)} texts for {len(config.text_dims)} text encoders")
    products = dict.fromkeys(PARTS, 0)
    products["embedding"] = 2 * tokens * config.latent_channels * math.prod(config.patch) * width
    products["time"] = grid[0] * width * (_FREQUENCIES + width + 6 * width + 2 * width)
    embedded = sum(m * size * width for m, size in zip(texts, config.text_dims, strict=True))
    looking = _cross_attention(width, tokens, sum(texts))
    products["text"] = embedded + config.depth * looking
    products["ffn"] = config.depth * 2 * tokens * width * int(width * config.ffn_ratio)
    for part, count in _mixer(config, grid).items():
        products[part] = config.depth * count
    return {part: 2 * batch * count for part, count in products.items()}


def _mixer(config: LinGenConfig, grid: Shape) -> dict[str, int]:
    """Multiply-adds of the parts of one block's mixer."""
    tokens = math.prod(grid)
    if config.mixer == "attention":
        return {"attention": _self_attention(config.width, tokens, tokens)}
    found = {}
    if config.tesa_branch:
        window = tuple(min(pair) for pair in zip(grid, config.window, strict=True))
        padded = math.prod(_up(size, step) for size, step in zip(grid, window, strict=True))
        found["tesa"] = _self_attention(config.width, padded, math.prod(window))
    if config.mamba_branch:
        found["ma"] = _projections(config, tokens) + tokens * _inner(config) * config.width
        found["scan"] = _scan(config, tokens)
        if config.review != "none":
            pooled = (-(-size // step) for size, step in zip(grid, config.review_pool, strict=True))
            count = math.prod(pooled)
            read = count * _inner(config) * 2 * config.state_size
            found["review"] = _projections(config, count) + read
    return found


def _self_attention(width: int, tokens: int, group: int) -> int:
    """In groups of `group` tokens: projections, scores, and values weighted by them."""
    return tokens * width * (4 * width + 2 * group)


def _cross_attention(width: int, tokens: int, text: int) -> int:
    return 2 * tokens * width * width + 2 * text * width * width + 2 * tokens * text * width


def _inner(config: LinGenConfig) -> int:
    return config.expand * config.width


def _projections(config: LinGenConfig, tokens: int) -> int:
    """`in_proj` and the depthwise convolution."""
    mixed = _inner(config) + 2 * config.state_size
    heads = _inner(config) // config.ssm_head_dim
    projected = config.width * (_inner(config) + mixed + 2 * heads)
    return tokens * (projected + mixed * config.conv_width)


def _scan(config: LinGenConfig, tokens: int) -> int:
    """State space duality over chunks, both directions at once (`lingen_models.kernels.ssd`)."""
    chunk = min(config.chunk, tokens)
    computed = _up(tokens, chunk)
    states = computed * _inner(config) * 2 * config.state_size  # what a chunk adds to them
    reaching = computed * 2 * config.state_size * _inner(config)  # what they add to a chunk
    scores = computed * chunk * config.state_size  # shared by the heads
    inside = computed * chunk * _inner(config)
    return states + reaching + scores + inside


def _up(size: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-size // step) * step
