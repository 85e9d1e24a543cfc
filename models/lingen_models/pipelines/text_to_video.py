"""Prompt in, frames out: a denoiser, an autoencoder and text encoders that were loaded together."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from lingen_models.checkpoints.load_networks import TextEncoder, VideoAutoencoder, load_networks
from lingen_models.checkpoints.lora import merge_lora
from lingen_models.checkpoints.pretrained import FrozenAutoencoder
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.embeddings import LayoutFeatures, pooled
from lingen_models.networks.video_autoencoder import SPACE_STRIDE, TIME_STRIDE
from lingen_models.networks.word_encoder import WordEncoder
from lingen_models.pipelines.protocol import VideoPipeline, first_frames
from lingen_models.precision import compute_dtype
from lingen_models.sampling.conditioning import Conditioning
from lingen_models.sampling.denoise import (
    Fade,
    Network,
    OnStep,
    SamplingMethod,
    TextFeatures,
    row_by_row,
    sample_latents,
)
from lingen_models.sampling.layout import Layout, LayoutObject, instant_frames, latent_instants
from lingen_models.sampling.params import SamplingParams
from lingen_models.sampling.step_cache import StepCache
from lingen_models.sampling.windows import Windows, continue_latents, count_windows, window_noise

LayoutPlanner = Callable[[str, int, Sequence[float], Layout | None, Collection[str]], Layout | None]
"""From a prompt, a seed, video frames at which keyframes are wanted, the layout of what was before,
if anything, and the words that the weights do not know, to a layout from the first of these frames
on; None where the prompt does not say enough, or more than a layout holds. A longer plan begins as
a shorter one. What the layout before describes alike goes on from where it is there."""
ObjectLocator = Callable[[Tensor], Layout]
"""From an image, uint8 (H, W, 3), to the layout of what is in it."""
DEFAULTS = SamplingParams()
EULER = SamplingMethod()


def expanded(prompt: str, layout: Layout | None) -> str:
    """Return the prompt with what its plan adds to it."""
    return prompt if layout is None else layout.prompt or prompt


def layout_discs(
    layout: Layout, frames: Sequence[int], grid: tuple[int, int], stride: int
) -> Tensor:
    """Discs (1, T, N, INSTANTS, 5), as of `LayoutFeatures`, of a layout in latent frames of these
    numbers, with a `grid` of lines and columns of tokens; a latent frame is `stride` frames."""
    high, wide = grid

    def disc(layout_object: LayoutObject, frame: float) -> tuple[float, ...]:
        at = layout_object.at(frame)
        place = (at.x * wide, at.y * high, at.radius * wide)
        return (*place, math.radians(at.angle), float(layout_object.is_there(frame)))

    return torch.tensor(
        [
            [
                [[disc(one, frame) for frame in instants] for one in layout.objects]
                for instants in latent_instants(frames, stride)
            ]
        ]
    )


def _to_cpu(*networks: nn.Module) -> None:
    """Move networks, in the precision of that device; a frozen autoencoder keeps its own."""
    for network in networks:
        keeps = isinstance(network, FrozenAutoencoder)
        network.to("cpu", None if keeps else compute_dtype("cpu"))


class TextToVideo(VideoPipeline):
    """The loaded networks of one model variant, ready to sample."""

    time_stride, space_stride = TIME_STRIDE, SPACE_STRIDE
    """Of lingen's own autoencoder; an instance has those of the one that it was given."""
    causal = True
    frugal = False
    """The networks get one row, and one latent frame, at a time."""

    def __init__(
        self,
        denoiser: LinGen,
        autoencoder: VideoAutoencoder,
        text_encoders: Sequence[TextEncoder],
    ) -> None:
        self.time_stride, self.space_stride = autoencoder.time_stride, autoencoder.space_stride
        self.causal = autoencoder.causal
        self.denoiser = denoiser.eval().requires_grad_(False)
        self.autoencoder = autoencoder.eval().requires_grad_(False)
        self.text_encoders = [one.eval().requires_grad_(False) for one in text_encoders]
        self.planner: LayoutPlanner | None = None
        """Finds where the objects of a prompt are."""
        self.locator: ObjectLocator | None = None
        """Finds where the objects of a first image are."""
        self.offloaded = False
        """Text encoders and autoencoder are on the CPU."""
        self.may_offload = True

    @classmethod
    def load(
        cls,
        denoiser: Path,
        autoencoder: Path,
        text_encoders: Sequence[Path],
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        given: Mapping[Path, nn.Module] | None = None,
    ) -> Self:
        """Load safetensors whose metadata holds their configuration.

        `dtype` defaults to bfloat16 where the device computes in it, else float32. `given` has, by
        their files, frozen networks that were built elsewhere, in their dtype and place.
        Raises CheckpointError for files that are damaged, foreign or do not fit together.
        """
        dtype = dtype or compute_dtype(device)
        return cls(*load_networks(denoiser, autoencoder, text_encoders, device, dtype, given or {}))

    @property
    def patch(self) -> tuple[int, int, int]:
        """Latents per token in time, height and width."""
        return self.denoiser.config.patch

    @property
    def takes_layout(self) -> bool:
        """Tell whether the weights take a layout."""
        return self.denoiser.config.layout

    @property
    def plans_layouts(self) -> bool:
        """True with a planner, and weights that take what it makes."""
        return self.planner is not None and self.takes_layout

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return self.denoiser.patch_in.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the denoiser's weights."""
        return self.denoiser.patch_in.weight.dtype

    @property
    def positions(self) -> int:
        """The most latent frames that are made in one piece: the denoiser's time table."""
        return self.denoiser.config.position_grid[0]

    @property
    def reach(self) -> int:
        """Latent frames before its own that a frame of the video depends on."""
        return self.autoencoder.reach

    def place(
        self, device: str, *, frames: int, height: int, width: int, offload: str, tiles: bool
    ) -> str | None:
        """Keep only the denoiser on the GPU, if that is asked for; see `VideoPipeline.place`."""
        self.may_offload = offload != "none"
        if offload not in ("auto", "none") and self.device.type != "cpu":
            self.offload()
        return None

    def add_loras(self, loras: Sequence[tuple[Path, float]]) -> None:
        """Add LoRAs, each with its scale, to the weights of the denoiser. Raises CheckpointError
        for those of another network."""
        for path, scale in loras:
            merge_lora(self.denoiser, path, scale)

    def save_memory(self) -> None:
        """From now on, prompts are asked one after the other, and decoding takes smaller parts.

        The numbers may differ in their last bits from those of one batch.
        """
        self.frugal = True

    def offload(self) -> None:
        """Move the text encoders and the autoencoder to the CPU; the denoiser stays."""
        _to_cpu(*self.text_encoders, self.autoencoder)
        self.offloaded = True

    def less(self) -> str | None:
        """Take the next step of those that need less memory; see `VideoPipeline.less`."""
        if not self.frugal:
            self.save_memory()
            return "the networks get smaller parts at a time"
        if self.device.type == "cpu" or not self.may_offload:
            return None
        if not self.offloaded:
            self.offload()
            return "text and pixels moved to the CPU"
        _to_cpu(*self.text_encoders, self.autoencoder, self.denoiser)
        return "everything moved to the CPU"

    def passes(self, have: int, new: int, windows: tuple[int, int] | None, cut: bool) -> int:
        """Count how often all steps are gone through for `new` latent frames after `have`
        others."""
        if windows is None:
            return 1
        plan = Windows(*windows, max(windows[0], self.positions))
        return count_windows(0 if cut else have, new, plan)

    def entry(self, frame: int) -> tuple[int, int]:
        """Find where decoding begins so that video frame `frame` is that of decoding everything:
        the latent frame, an even one, and the first video frame that comes out."""
        if not self.causal:
            return 0, 0
        start = max(0, -(-frame // self.time_stride) - self.reach - 1)
        start -= start % 2
        return start, 1 + self.time_stride * (start - 1) if start else 0

    def unknown_words(self, prompt: str) -> list[str]:
        """Words that no text encoder has met."""
        lists = [encoder.unknown_words(prompt) for encoder in self.text_encoders]
        return [word for word in lists[0] if all(word in other for other in lists[1:])]

    def synonyms(self, prompt: str) -> dict[str, str]:
        """Words of a prompt that a text encoder reads as another one, each with that."""
        words = self._words()
        return {} if words is None else words.synonyms(prompt)

    def _words(self) -> WordEncoder | None:
        """The text encoder, if there is one alone that knows a closed list of words."""
        first, *others = self.text_encoders
        return first if isinstance(first, WordEncoder) and not others else None

    def similar_word(self, word: str) -> str | None:
        """Return a known word that is spelt like an unknown one."""
        encoders = (one for one in self.text_encoders if isinstance(one, WordEncoder))
        return next((near for one in encoders if (near := one.similar_word(word))), None)

    def plan_layout(
        self,
        prompt: str,
        seed: int,
        latent_frames: int,
        begin: int = 0,
        before: Layout | None = None,
    ) -> Layout | None:
        """Plan where the objects of a video of a prompt are, as the model's planner has them for a
        seed.

        Args:
            prompt, seed: as of `sample`.
            latent_frames: of the whole video. A longer plan begins as a shorter one.
            begin: latent frame from which on the prompt counts.
            before: layout of what was before, which the new one continues.

        None without a planner, for weights that take no layout, or where the prompt does not say
        enough.
        """
        if self.planner is None or not self.takes_layout:
            return None
        frames = instant_frames(range(begin, latent_frames), self.time_stride)
        words = self._words()
        read = prompt if words is None else words.with_synonyms(prompt)
        planned = self.planner(read, seed, frames, before, self.unknown_words(prompt))
        if planned is None or before is None:
            return planned
        return before.then(planned, frames[0])

    def _planned(
        self, prompt: str, seed: int, latent_frames: int, first_frame: Tensor | None
    ) -> Layout | None:
        """The plan of a new video, which goes on from a first image; None where the prompt names
        what is not in that."""
        if first_frame is None:
            return self.plan_layout(prompt, seed, latent_frames)
        if self.locator is None or not self.plans_layouts:
            return None
        seen = self.locator(first_frame)
        planned = self.plan_layout(prompt, seed, latent_frames, 0, seen)
        if planned is None:
            return None
        begins = {(at.x, at.y) for at in (one.at(0.0) for one in seen.objects)}
        new = [one.at(0.0) for one in planned.objects if one.is_there(0.0)]
        known = all(any(math.dist((at.x, at.y), one) < 1e-6 for one in begins) for at in new)
        return planned if known else None

    @torch.inference_mode()
    def encode_layout(
        self, layout: Layout | None, frames: Sequence[int], size: Sequence[int]
    ) -> LayoutFeatures | None:
        """Features of a layout, one row, for latent frames of these numbers and of `size` lines and
        columns. Raises ValueError for weights that take no layout."""
        if layout is None or not layout.objects:
            return None
        if not self.takes_layout:
            raise ValueError("these weights take no layout")
        high, wide = (side // patch for side, patch in zip(size, self.patch[1:], strict=True))
        discs = layout_discs(layout, frames, (high, wide), self.time_stride)
        said = self.encode_texts([layout_object.phrase for layout_object in layout.objects])
        phrases = pooled(said.features[0], said.masks[0])
        return LayoutFeatures(discs.to(self.device), phrases[None])

    @torch.inference_mode()
    def encode_texts(self, prompts: Sequence[str]) -> TextFeatures:
        """Features of some prompts, one row each, from every text encoder."""
        pairs = [encoder(encoder.tokens(prompts)) for encoder in self.text_encoders]
        here, dtype = self.device, self.dtype
        return TextFeatures(
            tuple(features.to(here, dtype) for features, _ in pairs),
            tuple(mask.to(here) for _, mask in pairs),
        )

    @torch.inference_mode()
    def encode_still(self, image: Tensor) -> Tensor:
        """uint8 (H, W, 3) -> the clean latent frame (1, C, 1, h, w) of a stride of it."""
        return self.encode_video(image.repeat(1 + self.time_stride, 1, 1, 1))[:, :, 1:]

    def denoiser_for(self, params: SamplingParams) -> Network:
        """The denoiser as one sampling calls it: with a step cache of its own, or row by row."""
        if params.step_cache:
            return StepCache(self.denoiser, params.step_cache, one_row=self.frugal)
        return row_by_row(self.denoiser) if self.frugal else self.denoiser

    @torch.inference_mode()
    def sample(
        self,
        conditioning: Conditioning,
        params: SamplingParams = DEFAULTS,
        *,
        frames: int,
        height: int,
        width: int,
        method: SamplingMethod = EULER,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Latents (1, C, T, h, w), float32, for `frames` frames of height x width pixels.

        Noise is drawn on the CPU from the seed, so it does not depend on the device.
        A single frame cannot have a first and a last image. Without a layout, the model's planner
        makes one if `params` say so; with a first image, if what the prompt names is in it.
        Raises ValueError for sizes that the strides do not divide, an unknown schedule, or a layout
        for weights that take none.
        """
        unit = self.space_stride * self.patch[1]
        if height % unit or width % unit:
            raise ValueError(f"{width}x{height} pixels are not multiples of {unit}")
        times = method.times(params.steps)
        shape = self._shape(self.latent_frames(frames), height, width)
        generator = torch.Generator().manual_seed(params.seed)
        first, last = conditioning.first_frame, conditioning.last_frame
        layout = conditioning.layout
        if layout is None and params.plan_layout and last is None:
            layout = self._planned(conditioning.prompt, params.seed, shape[2], first)
        text = self.encode_texts([expanded(conditioning.prompt, layout)])
        text = replace(text, layout=self.encode_layout(layout, range(shape[2]), shape[3:]))
        return sample_latents(
            self.denoiser_for(params),
            torch.randn(shape, generator=generator).to(self.device),
            text,
            self.encode_texts([params.negative_prompt]),
            times=times,
            guidance=params.guidance(method.guided_after),
            sampler=method.loop,
            prefix=None if first is None else self.encode_image(first),
            suffix=None if last is None else self.encode_still(last),
            on_step=on_step,
        )

    @torch.inference_mode()
    def extend(
        self,
        history: Tensor,
        frames: int,
        conditioning: Conditioning,
        params: SamplingParams = DEFAULTS,
        *,
        windows: tuple[int, int],
        method: SamplingMethod = EULER,
        on_step: OnStep | None = None,
    ) -> Iterator[Tensor]:
        """Yield `frames` latent frames that follow `history` (1, C, T, h, w), T >= 0.

        They come in pieces (1, C, t, h, w) of float32, window by window: `windows` has the
        latent frames of one and of its past. A first image belongs into `history`. The layout
        counts from the begin of the video, `history` included; where that is empty, the model's
        planner makes one if `params` say so.
        Raises ValueError where the windows do not fit the network, or for a layout for weights that
        take none.
        """
        prompt, layout, fade = conditioning.prompt, conditioning.layout, conditioning.fade
        last, fresh = conditioning.last_frame, conditioning.fresh
        plan = Windows(*windows, positions=max(windows[0], self.positions))
        count = count_windows(0 if fresh else history.shape[2], frames, plan)
        steps, total = params.steps, count * params.steps
        end = None if last is None else self.encode_still(last)
        have = history.shape[2]
        if layout is None and params.plan_layout and not have:
            layout = self.plan_layout(prompt, params.seed, frames)
        before = None if fade is None else self.encode_texts([fade[0]])
        made = 0  # latent frames of the windows before
        text = self.encode_texts([expanded(prompt, layout)])
        away = self.encode_texts([params.negative_prompt])
        times = method.times(steps)

        def share(new: int, of: int, places: LayoutFeatures | None) -> Fade | None:
            """Return how the last `new` of `of` frames fade; None where that is over."""
            if fade is None or before is None or made >= fade[1]:
                return None
            place = torch.arange(made + 1 + new - of, made + 1 + new, device=self.device)
            return Fade(replace(before, layout=places), (place / (fade[1] + 1)).clamp(0, 1))

        def sample(noise: Tensor, past: Tensor, first_frame: int, number: int) -> Tensor:
            nonlocal made
            new = noise.shape[2] - past.shape[2]
            begin = have + made - past.shape[2]
            numbers = range(begin, begin + noise.shape[2])
            places = self.encode_layout(layout, numbers, noise.shape[3:])
            mixed = share(new, noise.shape[2], places)
            made += new

            def report(done: int, _: int, estimate: Tensor) -> None:
                if on_step is not None:
                    on_step(number * steps + done, total, estimate)

            return sample_latents(
                self.denoiser_for(params),
                noise,
                replace(text, layout=places),
                away,
                times=times,
                guidance=params.guidance(method.guided_after),
                sampler=method.loop,
                prefix=past if past.shape[2] else None,
                suffix=end if number == count - 1 else None,
                fade=mixed,
                first_frame=first_frame,
                on_step=report,
            )

        yield from continue_latents(
            history.to(self.device), frames, plan, params.seed, sample, fresh=fresh
        )

    @torch.inference_mode()
    def inpaint(
        self,
        latents: Tensor,
        span: tuple[int, int],
        conditioning: Conditioning,
        params: SamplingParams = DEFAULTS,
        *,
        past: int,
        method: SamplingMethod = EULER,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """`latents` (1, C, T, h, w) with the frames of `span`, the second excluded, made anew.

        They are sampled between up to `past` clean frames on either side, as far as the network's
        time table reaches; those, and all others, stay as they are. The layout counts from the
        begin of `latents`. Raises ValueError where the span alone is longer than the table, or
        empty, or for a layout for weights that take none.
        """
        begin, end = span
        positions, layout = self.positions, conditioning.layout
        if not 0 <= begin < end <= latents.shape[2] or end - begin > positions:
            raise ValueError(f"latent frames {begin} to {end} cannot be made anew")
        past = min(past, (positions - (end - begin)) // 2)
        first, last = max(0, begin - past), min(latents.shape[2], end + past)
        old = latents.to(self.device).float()
        noise = window_noise(params.seed, begin, (*old.shape[:2], last - first, *old.shape[3:]))
        places = self.encode_layout(layout, range(first, last), old.shape[3:])
        new = sample_latents(
            self.denoiser_for(params),
            noise.to(self.device),
            replace(self.encode_texts([expanded(conditioning.prompt, layout)]), layout=places),
            self.encode_texts([params.negative_prompt]),
            times=method.times(params.steps),
            guidance=params.guidance(method.guided_after),
            sampler=method.loop,
            prefix=old[:, :, first:begin] if first < begin else None,
            suffix=old[:, :, end:last] if end < last else None,
            first_frame=min(first, positions - (last - first)),
            on_step=on_step,
        )
        between = new[:, :, begin - first : end - first]
        return torch.cat((old[:, :, :begin], between, old[:, :, end:]), 2)

    @torch.inference_mode()
    def encode_video(self, frames: Tensor) -> Tensor:
        """uint8 (1 + time_stride k, H, W, 3) -> clean latents (1, C, 1 + k, h, w)."""
        pixels = frames.to(self._pixels_on).permute(3, 0, 1, 2).float() / 127.5 - 1
        return self.autoencoder.encode(pixels[None]).to(self.device)

    def empty_latents(self, height: int, width: int) -> Tensor:
        """The latents (1, C, 0, h, w) of a video that has not begun."""
        return torch.zeros(self._shape(0, height, width), device=self.device)

    def _shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int, int]:
        channels, side = self.denoiser.config.latent_channels, self.space_stride
        return 1, channels, frames, height // side, width // side

    def decode(self, latents: Tensor, frames: int, start: int = 0) -> Iterator[Tensor]:
        """Iterate over uint8 (t, H, W, 3) pieces on the CPU, `frames` in all, in constant memory.

        Decoding begins at latent frame `start`, which `entry` gives; from `autoencoder.reach`
        latent frames later on, the frames are those of decoding from the beginning.
        """
        return first_frames(self._decode_pieces(latents, start), frames)

    @property
    def _pixels_on(self) -> torch.device:
        """Where the autoencoder is."""
        return next(self.autoencoder.parameters()).device

    def _decode_pieces(self, latents: Tensor, start: int) -> Iterator[Tensor]:
        pieces = self.autoencoder.decode_in_chunks(
            latents.to(self._pixels_on), chunk=1 if self.frugal else 2, start=start
        )
        while True:
            with torch.inference_mode():
                piece = next(pieces, None)
                if piece is None:
                    return
                pixels = ((piece[0].float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
            yield pixels.permute(1, 2, 3, 0).cpu()
