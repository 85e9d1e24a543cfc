"""The temporal autoencoder: 8x8x8 compression, 16 channels, causal in time (paper.md 1.4).

Activations are kept as (B, T, H, W, C), so that a spatial convolution sees channels-last images
without a copy and a causal temporal convolution is one matrix product. The first latent frame
comes from the first video frame alone: a clip of 1 + 8 k frames has 1 + k latent frames, and an
image is a clip with k = 0. The trunk is linear and the nonlinear work is done in residual blocks:
a norm on the trunk would divide color by brightness. Norms see one position at a time, and
temporal layers carry their last inputs, so decoding in chunks gives the same numbers as decoding
whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from lingen_models.network_config import TAEConfig

TIME_STRIDE = 8
SPACE_STRIDE = 8
Memory = dict[nn.Module, Tensor]
"""The last inputs of every temporal layer, carried from one chunk to the next."""


def _orthogonal(outputs: int, inputs: int, taps: int) -> Tensor:
    """(outputs, inputs, taps) orthogonal map: the trunk begins as a well-conditioned average."""
    weight = torch.empty(outputs, inputs * taps)
    nn.init.orthogonal_(weight)
    return weight.view(outputs, inputs, taps)


class SpatialConv(nn.Conv2d):
    """3x3 convolution of every frame."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__(inputs, outputs, 3, stride, 1)
        nn.init.normal_(self.weight, std=0.1 * (9 * inputs) ** -0.5)
        taps = [4] if stride == 1 else [4, 5, 7, 8]
        with torch.no_grad():
            self.weight.flatten(2)[:, :, taps] += _orthogonal(outputs, inputs, len(taps))
        assert self.bias is not None
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, H, W, C) -> (B, T, H / stride, W / stride, C')."""
        frames = x.flatten(0, 1)
        if torch.is_grad_enabled() and not x.is_cuda:
            y = self._as_product(frames)
        else:
            y = super().forward(frames.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return torch.unflatten(y, 0, x.shape[:2])

    def _as_product(self, frames: Tensor) -> Tensor:
        """The same convolution as one matrix product over nine shifted copies.

        On a CPU in bf16 this is for training: the library's backward of a small convolution was
        measured at a tenth of the speed of its matrix products.
        """
        height, width = frames.shape[1:3]
        (step, _) = self.stride
        padded = F.pad(frames, (0, 0, 1, 1, 1, 1))
        taps = [
            padded[:, row : row + height : step, column : column + width : step]
            for row in range(3)
            for column in range(3)
        ]
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(torch.cat(taps, -1), weight, self.bias)


class TemporalConv(nn.Module):
    """Causal convolution over three frames; a clip's first frame is repeated before it."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.linear = nn.Linear(3 * inputs, outputs)
        nn.init.normal_(self.linear.weight, std=0.1 * (3 * inputs) ** -0.5)
        with torch.no_grad():
            weight = self.linear.weight.view(outputs, 3, inputs)
            weight[:, 3 - stride :] += _orthogonal(outputs, inputs, stride).transpose(1, 2)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        """(B, T, H, W, C) -> (B, ceil(T / stride), H, W, C')."""
        before = None if memory is None else memory.get(self)
        if before is None:
            before = x[:, :1].expand(-1, 2, -1, -1, -1)
        x = torch.cat((before, x), 1)
        if memory is not None:
            memory[self] = x[:, -2:].clone()
        taps = (x[:, :-2], x[:, 1:-1], x[:, 2:])
        return self.linear(torch.cat([tap[:, :: self.stride] for tap in taps], -1))  # type: ignore[no-any-return]


class Residual(nn.Module):
    """2.5-D block: a spatial, then a temporal convolution, around a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.spatial_norm = nn.LayerNorm(width)
        self.spatial = SpatialConv(width, width)
        self.temporal_norm = nn.LayerNorm(width)
        self.temporal = TemporalConv(width, width)
        nn.init.zeros_(self.temporal.linear.weight)
        nn.init.zeros_(self.temporal.linear.bias)

    def forward(self, x: Tensor, memory: Memory | None = None) -> Tensor:
        y = self.spatial(F.silu(self.spatial_norm(x)))
        return x + self.temporal(F.silu(self.temporal_norm(y)), memory)  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """Pixels to the mean and log-variance of latents."""

    def __init__(self, config: TAEConfig) -> None:
        super().__init__()
        small, middle, large = config.widths
        self.patch = config.patch
        self.stem = SpatialConv(3 * config.patch**2, small)
        self.fine = nn.ModuleList(Residual(small) for _ in range(config.depths[0]))
        self.fine_time = TemporalConv(small, small, stride=2)
        self.space = SpatialConv(small, middle, stride=2)
        self.middle = nn.ModuleList(Residual(middle) for _ in range(config.depths[1]))
        self.middle_time = TemporalConv(middle, large, stride=2)
        self.coarse_time = TemporalConv(large, large, stride=2)
        self.coarse = nn.ModuleList(Residual(large) for _ in range(config.depths[2]))
        self.out = nn.Linear(large, 2 * config.latent_channels)
        nn.init.orthogonal_(self.out.weight)
        with torch.no_grad():  # begin with little noise, so that the decoder has a signal to read
            self.out.weight[config.latent_channels :].zero_()
            self.out.bias[config.latent_channels :].fill_(-4.0)

    def forward(self, video: Tensor) -> Tensor:
        """(B, 3, 1 + 8 k, H, W) in [-1, 1] -> (B, 1 + k, H/8, W/8, 2 * latent channels)."""
        x = rearrange(video, "b c t (h p) (w q) -> b t h w (c p q)", p=self.patch, q=self.patch)
        x = self.stem(x)
        for block in self.fine:
            x = block(x)
        x = self.space(self.fine_time(x))
        for block in self.middle:
            x = block(x)
        x = self.coarse_time(self.middle_time(x))
        for block in self.coarse:
            x = block(x)
        return self.out(x)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Latents to pixels, whole or a few latent frames at a time."""

    def __init__(self, config: TAEConfig) -> None:
        super().__init__()
        small, middle, large = config.widths
        self.patch = config.patch
        self.stem = nn.Linear(config.latent_channels, large)
        nn.init.orthogonal_(self.stem.weight)
        self.coarse = nn.ModuleList(Residual(large) for _ in range(config.depths[2]))
        self.coarse_time = TemporalConv(large, large)
        self.middle_time = TemporalConv(large, middle)
        self.middle = nn.ModuleList(Residual(middle) for _ in range(config.depths[1]))
        self.space = SpatialConv(middle, 4 * small)
        self.fine_time = TemporalConv(small, small)
        self.fine = nn.ModuleList(Residual(small) for _ in range(config.depths[0]))
        self.out = SpatialConv(small, 3 * config.patch**2)

    def forward(self, latents: Tensor, memory: Memory | None = None, first: bool = True) -> Tensor:
        """(B, T, h, w, C) -> (B, 3, 1 + 8 (T - 1) or 8 T, 8 h, 8 w).

        `first` says that the clip begins with this chunk: its first latent frame gives one frame,
        every other one gives eight. `memory` carries temporal context between chunks.
        """
        x = self.stem(latents)
        for block in self.coarse:
            x = block(x, memory)
        x = self.coarse_time(_double_frames(x, first), memory)
        x = self.middle_time(_double_frames(x, first), memory)
        for block in self.middle:
            x = block(x, memory)
        x = rearrange(self.space(x), "b t h w (c p q) -> b t (h p) (w q) c", p=2, q=2)
        x = self.fine_time(_double_frames(x, first), memory)
        for block in self.fine:
            x = block(x, memory)
        x = self.out(x)
        video: Tensor = rearrange(
            x, "b t h w (c p q) -> b c t (h p) (w q)", p=self.patch, q=self.patch
        )
        return video


def check_divided(video: Tensor, time_stride: int, space_stride: int) -> None:
    """Raise ValueError for frames or sides of (B, 3, F, H, W) that the strides do not divide."""
    frames, height, width = video.shape[2:]
    if (frames - 1) % time_stride:
        raise ValueError(f"{frames} frames are not 1 more than a multiple of {time_stride}")
    if height % space_stride or width % space_stride:
        raise ValueError(f"{width}x{height} pixels are not multiples of {space_stride}")


def _double_frames(x: Tensor, first: bool) -> Tensor:
    """Repeat every frame, but a clip's first one only once."""
    doubled = x.repeat_interleave(2, 1)
    return doubled[:, 1:] if first else doubled


class TemporalAutoencoder(nn.Module):
    """Video to latents and back. Latents are scaled to about unit variance per channel."""

    time_stride, space_stride = TIME_STRIDE, SPACE_STRIDE
    causal = True

    def __init__(self, config: TAEConfig) -> None:
        super().__init__()
        self.config = config
        self.latent_channels = config.latent_channels
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.latent_mean = nn.Buffer(torch.zeros(config.latent_channels))
        self.latent_std = nn.Buffer(torch.ones(config.latent_channels))

    def posterior(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Unscaled mean and log-variance, each (B, T, h, w, C). For training."""
        mean, log_variance = self.encoder(video).chunk(2, -1)
        return mean, log_variance.float().clamp(-20, 10)

    def encode(self, video: Tensor) -> Tensor:
        """(B, 3, 1 + 8 k, H, W) in [-1, 1] -> (B, C, 1 + k, H/8, W/8), float32, scaled.

        Raises ValueError where the frames are not 1 + 8 k or a side is not a multiple of 8.
        """
        check_divided(video, TIME_STRIDE, SPACE_STRIDE)
        mean, _ = self.posterior(video.to(self.decoder.stem.weight.dtype))
        scaled = (mean.float() - self.latent_mean.float()) / self.latent_std.float()
        return scaled.movedim(-1, 1)

    def decode(self, latents: Tensor) -> Tensor:
        """(B, C, T, h, w) scaled latents -> (B, 3, 1 + 8 (T - 1), 8 h, 8 w) in about [-1, 1]."""
        return self.decoder(self._unscale(latents))  # type: ignore[no-any-return]

    def decode_in_chunks(self, latents: Tensor, chunk: int = 2, start: int = 0) -> Iterator[Tensor]:
        """Yield what `decode` returns in pieces of `chunk` latent frames, in constant memory.

        With a later `start`, what comes before it is taken to have stood still; after `reach`
        latent frames nothing depends on that.
        """
        memory: Memory = {}
        for at in range(start, latents.shape[2], chunk):
            part = self._unscale(latents[:, :, at : at + chunk])
            yield self.decoder(part, memory, first=at == 0)

    @property
    def reach(self) -> int:
        """Latent frames before its own that the decoder looks at for a frame of video.

        Every temporal layer looks two of its own frames back; those grow finer by 2, 4 and 8.
        """
        fine, middle, coarse = self.config.depths
        return math.ceil(2 * coarse + 2 / 2 + (2 + 2 * middle) / 4 + (2 + 2 * fine) / 8)

    def _unscale(self, latents: Tensor) -> Tensor:
        wide = latents.movedim(1, -1).float() * self.latent_std.float() + self.latent_mean.float()
        return wide.to(self.decoder.stem.weight.dtype)
