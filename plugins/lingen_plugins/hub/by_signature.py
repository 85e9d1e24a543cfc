"""Any pipeline of `diffusers` that decodes what it made with one call of its autoencoder.

The call goes through whole, but for the autoencoder: what it is asked to decode is kept, and it
answers with marks in place of images. So lingen decodes by itself, when and as often as it needs
to, and knows from the marks that the pipeline changes nothing of the images afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import cached_property
from types import MethodType
from typing import TYPE_CHECKING, Any

from lingen_plugins.contracts import FoundModel
from lingen_plugins.hub.adapter import HubPipeline
from lingen_plugins.hub.families import ltx_sound
from lingen_plugins.hub.families.wan_codec import decode_plain, reach_of
from lingen_plugins.hub.loading import WAN_AUTOENCODER, awake, in_tiles, one_line
from lingen_plugins.hub.signatures import FRAMES, RATES, arguments_of, strides_of
from lingen_plugins.plugin_errors import NotHereError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lingen_models.sampling.conditioning import Conditioning
    from lingen_models.sampling.denoise import OnStep, SamplingMethod
    from lingen_models.sampling.params import SamplingParams

_MARK = 2
"""Pixels per side of a mark."""


class BySignature(HubPipeline):
    """Its latents are what the autoencoder is asked to decode: (1, C, T, h, w), not normalised;
    where it makes sound, with what that is decoded from in further channels."""

    def __init__(self, pipe: Any, model: FoundModel) -> None:
        self._signature = arguments_of(pipe)
        self._frames_name = next((one for one in FRAMES if one in self._signature), "")
        self._extra = dict(model.call)
        super().__init__(pipe, model)

    def latent_frames(self, frames: int) -> int:
        """Latent frames for so many; whole clips where clips can be chained."""
        if self.model.windows is None:
            return super().latent_frames(frames)
        return self.model.windows[0] * self._clip_of(frames - 1) + self.model.windows[0]

    def passes(self, have: int, new: int, windows: tuple[int, int] | None, cut: bool) -> int:
        """Count the clips of `new` latent frames."""
        return 1 if windows is None else new // windows[0]

    def entry(self, frame: int) -> tuple[int, int]:
        """The clip that holds the frame, where clips are chained; else as `HubPipeline`."""
        if self.model.windows is None:
            return super().entry(frame)
        clip = self._clip_of(frame)
        return self.model.windows[0] * clip, clip and 1 + clip * (self._clip_frames - 1)

    @property
    def causal(self) -> bool:  # type: ignore[override]
        """Tell whether frames stay what they are when more latents follow."""
        return self._in_chunks

    @cached_property
    def reach(self) -> int:
        """Latent frames before its own that a frame of the video depends on; all of them where
        that cannot be told."""
        if self._in_chunks and not self.pipe.vae.config.is_residual:
            return reach_of(self.pipe.vae)
        return sys.maxsize

    def sample(
        self,
        conditioning: Conditioning,
        params: SamplingParams,
        *,
        frames: int,
        height: int,
        width: int,
        method: SamplingMethod,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """The latents of a new video, as `TextToVideo.sample`."""
        import torch

        self._refuse(replace(conditioning, first_frame=None, last_frame=None, video=None))
        images = {"image": conditioning.first_frame, "last_image": conditioning.last_frame}
        more = {name: _image(one) for name, one in images.items() if one is not None}
        if conditioning.video is not None:
            more["video"] = [_image(one) for one in conditioning.video]
        like = torch.zeros(self._kept_shape(self.latent_frames(frames), height, width))
        return self._pass(like, conditioning.prompt, params, method, on_step, 0, 1, **more)

    def empty_latents(self, height: int, width: int) -> Tensor:
        """The latents (1, C, 0, h, w) of a video that has not begun."""
        import torch

        length = 1 if self.model.windows is None else self.model.windows[0]
        return torch.zeros(self._kept_shape(length, height, width))[:, :, :0]

    def encode_image(self, image: Tensor) -> Tensor:
        """No latents: the first clip begins with the image itself."""
        return self.empty_latents(image.shape[0], image.shape[1])

    def extend(
        self,
        history: Tensor,
        frames: int,
        conditioning: Conditioning,
        params: SamplingParams,
        *,
        windows: tuple[int, int],
        method: SamplingMethod,
        on_step: OnStep | None = None,
    ) -> Iterator[Tensor]:
        """Yield `frames` latent frames that follow `history`, clip by clip: each begins with the
        last image of the one before, and has noise of its own."""
        from lingen_models.sampling.windows import place_seed

        self._refuse(replace(conditioning, first_frame=None))
        length, have = windows[0], history.shape[2]
        shape = (*history.shape[:2], length, *history.shape[3:])
        before = None if conditioning.fresh or not have else history[:, :, -length:]
        first = conditioning.first_frame
        count = frames // length
        for number in range(count):
            if before is not None:
                first = self._last_image(before)
            more = {} if first is None else {"image": _image(first)}
            seed = place_seed(params.seed, have) if have else params.seed
            like = history.new_zeros(shape)
            before = self._pass(
                like,
                conditioning.prompt,
                replace(params, seed=seed),
                method,
                on_step,
                number,
                count,
                **more,
            )
            yield before
            have += length

    def decode(self, latents: Tensor, frames: int, start: int = 0) -> Iterator[Tensor]:
        """Images as `HubPipeline`; of chained clips one after the other, each but the first
        without the image that it began with."""
        if self.model.windows is None:
            yield from super().decode(latents, frames, start)
            return
        length = self.model.windows[0]
        for at in range(start, latents.shape[2], length):
            skip = 1 if at else 0
            for piece in super().decode(latents[:, :, at : at + length], self._clip_frames):
                part = piece[skip:][:frames]
                skip = max(0, skip - len(piece))
                frames -= len(part)
                if len(part):
                    yield part
                if frames <= 0:
                    return

    def sound(self, latents: Tensor) -> tuple[Tensor, int] | None:
        """The sound of a video whose latents these are, as `VideoPipeline.sound`; that of chained
        clips is faded from one into the next over the image that they share."""
        if not self.model.sound:
            return None
        rate, length = ltx_sound.samples_per_second(self.pipe), latents.shape[2]
        if self.model.windows is not None:
            length = self.model.windows[0]
        frames = 1 + self.time_stride * (length - 1)
        shape, channels = ltx_sound.sound_shape(self.pipe, frames, self.model.fps), self._channels
        begins = range(0, latents.shape[2], length)
        clips = [
            ltx_sound.unpacked(latents[:, :, begin : begin + length], channels, shape)
            for begin in begins
        ]
        waves = [ltx_sound.waveform(self.pipe, one) for one in clips]
        return ltx_sound.in_a_row(waves, (frames - 1) / self.model.fps * rate), rate

    @property
    def _clip_frames(self) -> int:
        assert self.model.windows is not None
        return 1 + self.time_stride * (self.model.windows[0] - 1)

    def _clip_of(self, frame: int) -> int:
        """Number of the chained clip that a frame of the video is in."""
        return max(0, (frame - 1) // (self._clip_frames - 1))

    def _last_image(self, latents: Tensor) -> Tensor:
        """The last frame of a clip, uint8 (H, W, 3)."""
        *_, piece = super().decode(latents, self._clip_frames)
        self._decodes = False
        return piece[-1]

    def _space_stride(self) -> int:
        return strides_of(self.pipe)[1]

    @property
    def _in_chunks(self) -> bool:
        """A latent frame is decoded at a time."""
        return type(self.pipe.vae).__name__ == WAN_AUTOENCODER

    @property
    def _channels(self) -> int:
        """Channels of the latents of images."""
        config = self.pipe.vae.config
        return int(config.get("z_dim") or config["latent_channels"])

    def _shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int, int]:
        step = self.space_stride
        return 1, self._channels, frames, height // step, width // step

    def _kept_shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int, int]:
        """Shape of latents with those of the sound, if there is one."""
        shape = self._shape(frames, height, width)
        if not self.model.sound:
            return shape
        count = 1 + self.time_stride * (frames - 1)
        sound = ltx_sound.sound_shape(self.pipe, count, self.model.fps)
        return ltx_sound.with_channels(shape, sound)

    def _decode_pieces(self, latents: Tensor) -> Iterator[Tensor]:
        import torch

        vae, latents = self.pipe.vae, latents[:, : self._channels]
        if self._in_chunks and not self.tiles:
            yield from decode_plain(vae, latents)
            return
        with torch.inference_mode(), in_tiles(vae, wanted=self.tiles):
            plain = latents.to(awake(vae).device, vae.dtype)
            yield vae.decode(plain, *self._beside(plain), return_dict=False)[0]

    def _beside(self, latents: Tensor) -> tuple[Tensor, ...]:
        """Arguments of the autoencoder beside the latents."""
        if not self.pipe.vae.config.get("timestep_conditioning", False):
            return ()
        time = self._extra.get("decode_timestep", self._signature["decode_timestep"].default)
        return (latents.new_full((1,), time),)

    def _call(self, noise: Tensor, prompt: str, params: SamplingParams, **more: Any) -> Tensor:
        """What the pipeline asks its autoencoder to decode; of `noise` only the shape counts."""
        import torch

        _, _, frames, height, width = noise.shape
        listener = more.pop("callback_on_step_end")

        def after_step(pipe: Any, step: int, time: Any, _: Any) -> dict[str, Any]:
            found: dict[str, Any] = listener(pipe, step, time, {"latents": noise})
            return found

        rates = dict.fromkeys(RATES, self.model.fps)
        arguments = (
            rates
            | more
            | {
                "prompt": prompt,
                "negative_prompt": params.negative_prompt,
                self._frames_name: 1 + self.time_stride * (frames - 1),
                "height": height * self.space_stride,
                "width": width * self.space_stride,
                "num_inference_steps": params.steps,
                "guidance_scale": params.guidance_scale,
                "generator": torch.Generator().manual_seed(params.seed),
                "use_resolution_binning": False,
                "callback_on_step_end": after_step,
                "output_type": "np",
            }
        )
        known = {name: one for name, one in arguments.items() if name in self._signature}
        with (
            self._caught() as caught,
            self._sound_caught() as sounds,
            self._steps_reported(after_step),
        ):
            try:
                marks = self.pipe(**known | self._extra)[0]
            except (ValueError, TypeError, AssertionError) as error:
                raise NotHereError(
                    f"{type(self.pipe).__name__} refuses what it was asked: {one_line(error)}"
                ) from error
        latents = self._checked(caught, marks, noise[:, : self._channels])
        return self._with_sound(latents, sounds, noise) if self.model.sound else latents

    @contextmanager
    def _caught(self) -> Iterator[list[tuple[Any, ...]]]:
        """Inside, the autoencoder keeps what it is asked to decode, and gives marks."""
        import torch

        caught: list[tuple[Any, ...]] = []

        def decode(latents: Tensor, *beside: Any, return_dict: bool = True, **named: Any) -> Any:
            caught.append((latents, *beside, *named.values()))
            count = 1 + self.time_stride * (latents.shape[2] - 1)
            marks = torch.linspace(-1, 1, count).view(1, 1, count, 1, 1)
            marks = marks.expand(1, 3, count, _MARK, _MARK)
            return _Decoded(marks) if return_dict else (marks,)

        self.pipe.vae.decode = decode
        try:
            yield caught
        finally:
            del self.pipe.vae.decode

    def _sound_caught(self) -> AbstractContextManager[list[Tensor]]:
        return ltx_sound.caught_sound(self.pipe) if self.model.sound else nullcontext([])

    def _with_sound(self, latents: Tensor, sounds: list[Tensor], like: Tensor) -> Tensor:
        """Latents of images with those of the sound, of the shape of `like`."""
        frames = 1 + self.time_stride * (like.shape[2] - 1)
        shape = ltx_sound.sound_shape(self.pipe, frames, self.model.fps)
        if [tuple(one.shape) for one in sounds] != [shape]:
            raise NotHereError(
                f"{type(self.pipe).__name__} makes sound that is not {tuple(shape)} latents of one "
                "decoding: lingen cannot run it by its signature"
            )
        return ltx_sound.packed(latents, sounds[0])

    @contextmanager
    def _steps_reported(self, after_step: Callable[..., Any]) -> Iterator[None]:
        """Where the pipeline tells of no step, its scheduler does."""
        if "callback_on_step_end" in self._signature:
            yield
            return
        scheduler = self.pipe.scheduler

        def stepped(one: Any, *arguments: Any, **named: Any) -> Any:
            found = type(one).step(one, *arguments, **named)
            if one is scheduler:  # and no copy of it, for the sound
                after_step(self.pipe, 0, 0, {})
            return found

        scheduler.step = MethodType(stepped, scheduler)
        try:
            yield
        finally:
            del scheduler.step

    def _checked(self, caught: list[tuple[Any, ...]], marks: Any, noise: Tensor) -> Tensor:
        """The latents, if nothing else than decoding them makes the images of the pipeline."""
        import numpy as np

        name = type(self.pipe).__name__
        if len(caught) != 1:
            raise NotHereError(
                f"{name} decodes in {len(caught)} calls: lingen cannot run it by its signature"
            )
        ((latents, *beside),) = caught
        if latents.shape != noise.shape:
            raise NotHereError(
                f"{name} makes latents of {tuple(latents.shape)}, not {tuple(noise.shape)}: write "
                "time_stride and side_step into lingen-model.toml"
            )
        given = [one for one in beside if one is not None]
        expected = self._beside(latents)
        if len(given) != len(expected) or any(
            (one != other.to(one)).any() for one, other in zip(given, expected, strict=True)
        ):
            raise NotHereError(f"{name} decodes with what lingen does not know")
        seen = np.asarray(marks[0])
        count = 1 + self.time_stride * (noise.shape[2] - 1)
        even = np.linspace(0, 1, count).reshape(count, 1, 1, 1)
        if seen.shape != (count, _MARK, _MARK, 3) or abs(seen - even).max() > 0.25 / count:
            raise NotHereError(f"{name} changes its images after decoding")
        found: Tensor = latents
        return found


class _Decoded(tuple[Any]):
    """An answer of `decode` that has its images under the name `sample` as well."""

    def __new__(cls, given: torch.Tensor) -> _Decoded:
        """The images (B, 3, T, H, W) from -1 to 1."""
        return super().__new__(cls, (given,))

    @property
    def sample(self) -> Any:
        """The images."""
        return self[0]


def _image(frame: Tensor) -> Any:
    """uint8 (H, W, 3) as pipelines take images."""
    from PIL import Image

    return Image.fromarray(frame.cpu().numpy())
