"""Sound that LTX-2 and its relatives make together with a video.

Its latents (1, C, L, M) are those of a spectrogram; an autoencoder and a vocoder make a waveform
of them. They travel in the tensor of the video's latents, as further channels of it, so whatever
keeps those (a journal, the cache, a clip that another goes on with) keeps these as well.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lingen_plugins.hub.loading import awake
from lingen_plugins.plugin_errors import NotHereError

if TYPE_CHECKING:
    from torch import Tensor

AUTOENCODER = "audio_vae"
"""The part that a pipeline with sound has."""
_NEEDED = ("audio_sampling_rate", "audio_hop_length", "audio_vae_temporal_compression_ratio")


def can_be_heard(pipe: Any) -> bool:
    """Tell whether a pipeline says how long the latents of its sound are."""
    vocoder = getattr(pipe, "vocoder", None)
    return all(hasattr(pipe, one) for one in _NEEDED) and "output_sampling_rate" in getattr(
        vocoder, "config", {}
    )


def sound_shape(pipe: Any, frames: int, fps: int) -> tuple[int, int, int, int]:
    """Shape of the latents of the sound of so many frames, as the pipeline counts it."""
    coder = pipe.audio_vae
    per_second = pipe.audio_sampling_rate / pipe.audio_hop_length
    length = round(frames / fps * (per_second / pipe.audio_vae_temporal_compression_ratio))
    bins = coder.config.mel_bins // coder.mel_compression_ratio
    return 1, int(coder.config.latent_channels), length, int(bins)


def with_channels(
    shape: tuple[int, int, int, int, int], sound: tuple[int, int, int, int]
) -> tuple[int, int, int, int, int]:
    """Shape of latents of a video that hold those of its sound as well."""
    batch, channels, *rest = shape
    return batch, channels + -(-math.prod(sound) // math.prod(rest)), rest[0], rest[1], rest[2]


def packed(video: Tensor, sound: Tensor) -> Tensor:
    """Latents of a video (1, C, T, h, w) and of its sound in one tensor (1, C + k, T, h, w)."""
    import torch

    shape = with_channels(tuple(video.shape), tuple(sound.shape))  # type: ignore[arg-type]
    room = video.new_zeros(1, shape[1] - video.shape[1], *shape[2:], dtype=torch.float32)
    room.view(-1)[: sound.numel()] = sound.reshape(-1)
    return torch.cat((video.float(), room), 1)


def unpacked(both: Tensor, channels: int, shape: tuple[int, int, int, int]) -> Tensor:
    """Latents of the sound, of a `shape`, in a tensor whose first `channels` are the video's."""
    return both[:, channels:].reshape(-1)[: math.prod(shape)].reshape(shape)


@contextmanager
def caught_sound(pipe: Any) -> Iterator[list[Tensor]]:
    """Inside, the autoencoder of the sound keeps what it is asked to decode, and nothing is made of
    that."""
    caught: list[Tensor] = []

    def decode(latents: Tensor, *, return_dict: bool) -> tuple[Tensor]:
        caught.append(latents)
        return (latents,)

    vocoder = pipe.vocoder
    before = vars(vocoder).get("forward")  # one with hooks, where networks wait beside the card
    pipe.audio_vae.decode, vocoder.forward = decode, lambda spectrogram: spectrogram
    try:
        yield caught
    finally:
        del pipe.audio_vae.decode, vocoder.forward
        if before is not None:
            vocoder.forward = before


def waveform(pipe: Any, latents: Tensor) -> Tensor:
    """The sound of latents: float32 (channels, samples) from -1 to 1, on the CPU.

    Raises NotHereError for more channels than two.
    """
    import torch

    coder, vocoder = pipe.audio_vae, pipe.vocoder
    with torch.inference_mode():
        plain = latents.to(awake(coder).device, coder.dtype)
        spectrogram = coder.decode(plain, return_dict=False)[0]
        found: Tensor = vocoder(spectrogram.to(vocoder.dtype))[0].float().cpu()
    if found.shape[0] > 2:
        raise NotHereError(
            f"{type(pipe).__name__} makes sound of {found.shape[0]} channels: add --no-sound"
        )
    return torch.nan_to_num(found).clamp(-1, 1)


def samples_per_second(pipe: Any) -> int:
    """Rate of the waveform."""
    return int(pipe.vocoder.config.output_sampling_rate)


def in_a_row(clips: Sequence[Tensor], step: float) -> Tensor:
    """Waveforms (channels, samples) of clips, each `step` samples after the one before. Where two
    are there at once, one fades into the other."""
    import torch

    whole = clips[0]
    for number, clip in enumerate(clips[1:], start=1):
        begin = min(round(number * step), whole.shape[1])
        both = min(whole.shape[1] - begin, clip.shape[1])
        share = torch.linspace(0, 1, both + 2)[1:-1]
        faded = whole[:, begin : begin + both] * (1 - share) + clip[:, :both] * share
        whole = torch.cat((whole[:, :begin], faded, clip[:, both:]), 1)
    return whole
