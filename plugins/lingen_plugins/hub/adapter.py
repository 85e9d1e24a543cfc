"""A `diffusers` pipeline behind the methods that the command line calls."""

from __future__ import annotations

import re
import shutil
import warnings
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from lingen_models.checkpoints.safetensors import CheckpointError
from lingen_models.pipelines.protocol import VideoPipeline, first_frames
from lingen_plugins.contracts import HubModel
from lingen_plugins.hub import fit_ladder as fit
from lingen_plugins.hub.loading import one_line
from lingen_plugins.hub.signatures import shift_name
from lingen_plugins.hub.weight_formats import no_places_of
from lingen_plugins.plugin_errors import DoesNotFitError, NotHereError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from lingen_models.sampling.conditioning import Conditioning
    from lingen_models.sampling.denoise import OnStep, SamplingMethod
    from lingen_models.sampling.params import SamplingParams


class HubPipeline(VideoPipeline):
    """A pipeline that makes a clip in one piece, out of noise (1, C, T, h, w) that it is given.

    The noise is what the pipeline itself draws with `generator=torch.Generator().manual_seed(seed)`
    on the CPU. It reads any word, places things by itself, and sees nothing of what comes after.
    Families override what differs.
    """

    causal = True
    frugal = True
    """What decoding needs does not grow with the length; below that are only slower places."""
    tiles = False

    _frames_name = "num_frames"
    """What the pipeline calls the length."""

    def __init__(self, pipe: Any, model: HubModel) -> None:
        self.pipe, self.model = pipe, model
        self._own_scheduler: Any = None
        self._place: str = ""
        self._device = "cpu"
        self._places: list[str] = []
        """Those that are left where memory runs out, each with less on the card."""
        self._decodes = False
        """It decodes now, or did so last."""
        self.space_stride = self._space_stride()

    @property
    def time_stride(self) -> int:
        """Video frames per latent frame."""
        return self.model.time_stride

    @property
    def positions(self) -> int:
        """The most latent frames that are made in one piece."""
        return self.latent_frames(self.model.frames)

    @property
    def reach(self) -> int:
        """Latent frames before its own that a frame of the video depends on."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Device on which it computes."""
        found: torch.device = self.pipe._execution_device
        return found

    @property
    def dtype(self) -> torch.dtype:
        """Type of the denoiser's weights."""
        found: torch.dtype = (self.pipe.transformer or self.pipe.transformer_2).dtype
        return found

    def passes(self, have: int, new: int, windows: tuple[int, int] | None, cut: bool) -> int:
        """Count how often all steps are gone through for `new` latent frames after `have`
        others."""
        if windows is None:
            return 1
        return sum(1 for _ in self._plan(0 if cut else have, new, windows))

    def entry(self, frame: int) -> tuple[int, int]:
        """The latent frame to begin decoding with, and the first video frame that comes out."""
        start = max(0, -(-frame // self.time_stride) - self.reach - 1)
        return start, self.time_stride * start  # the first latent frame gives one frame, its last

    def empty_latents(self, height: int, width: int) -> Tensor:
        """The latents (1, C, 0, h, w) of a video that has not begun."""
        import torch

        return torch.zeros(self._shape(0, height, width))

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

        self._refuse(conditioning)
        shape = self._shape(self.latent_frames(frames), height, width)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(params.seed))
        count = self.passes(0, noise.shape[2], None, False)
        return self._pass(noise, conditioning.prompt, params, method, on_step, 0, count)

    def encode_video(self, *arguments: Any) -> Tensor:
        """A family overrides this where it goes on with any video."""
        raise NotImplementedError

    def extend(self, *arguments: Any, **choices: Any) -> Iterator[Tensor]:
        """A family overrides this where its record has windows."""
        raise NotImplementedError

    def inpaint(self, *arguments: Any, **choices: Any) -> Tensor:
        """Never: none of these models sees what comes after."""
        raise NotImplementedError

    def decode(self, latents: Tensor, frames: int, start: int = 0) -> Iterator[Tensor]:
        """uint8 (t, H, W, 3) pieces on the CPU, `frames` in all, from latent frame `start` on."""
        self._decodes = True
        return first_frames(map(to_uint8, self._decode_pieces(latents[:, :, start:])), frames)

    def save_memory(self) -> None:
        """It already takes as little at a time as it can."""

    def place(
        self, device: str, *, frames: int, height: int, width: int, offload: str, tiles: bool
    ) -> str | None:
        """Bring the networks, which are read to the CPU, to where they fit; see `VideoPipeline`.

        Raises DoesNotFitError where `offload` allows no place that the card is large enough for.
        """
        self.tiles = self.tiles or (tiles and self._can_tile)
        if device == "cpu" or self._place:
            return None
        self._device = device
        free, total, card = fit.free_of_card(device)
        shape = self._shape(self.latent_frames(frames), height, width)
        needs = fit.needs_of(self.pipe, shape, tiles=self._can_tile)
        self.tiles = self.tiles or needs.decodes_in_tiles(free)
        without = no_places_of(fit.networks(self.pipe))
        places = needs.places(offload, free, fit.free_memory())
        self._places = [one for one in places if one not in without]
        if not self._places:
            raise NotHereError(
                f"the quantized weights of {self.model.name} cannot wait as --offload {offload} "
                "has it: leave out --offload"
            )
        memory = f"{card} has {_gigabytes(free)} of {_gigabytes(total)} free"
        part, size = needs.largest
        begins = None if needs.cannot_be(self._places[0], free) else self._next()
        if begins is None:
            raise DoesNotFitError(
                f"out of memory: {self.model.name} does not fit with --offload {offload}: "
                f"{memory}, its largest part, the {part}, takes {_gigabytes(size)}; "
                "leave out --offload, or use --device cpu"
            )
        said = [] if begins == fit.PLACES["whole"] else [begins]
        said += ["images are decoded in tiles"] if self.tiles and not tiles else []
        if not said:
            return None
        return f"{' and '.join(said)}: {memory}, the largest part, the {part}, takes " + (
            _gigabytes(size)
        )

    def offload(self) -> None:
        """From now on only the part that computes is on the GPU."""
        if self._place == "whole":
            self._next()

    def less(self) -> str | None:
        """Take the next step of those that need less memory; see `VideoPipeline.less`."""
        if self._decodes and self._can_tile and not self.tiles:
            self.tiles = True
            return "images are decoded in tiles"
        return self._next()

    @property
    def _can_tile(self) -> bool:
        return self.model.tiles and hasattr(self.pipe.vae, "enable_tiling")

    def _next(self) -> str | None:
        """Go to the first place left that torch finds room for. Return what it is; None where there
        is none."""
        import torch

        while self._places and self._place != "disk":
            if self._place:
                fit.take_back(self.pipe)
            self._place = self._places.pop(0)
            folder = None
            if self._place == "disk":
                folder = mkdtemp(prefix="lingen-offload-")
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            try:
                fit.put(self.pipe, self._place, self._device, folder)
            except (MemoryError, torch.OutOfMemoryError):
                continue
            return fit.PLACES[self._place]
        return None

    def _space_stride(self) -> int:
        """Pixels per latent, in height and in width."""
        return int(self.pipe.vae_scale_factor_spatial)

    def _plan(self, have: int, new: int, windows: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """Latent frames of its past, and new ones, of every window."""
        raise NotImplementedError

    def _decode_pieces(self, latents: Tensor) -> Iterator[Tensor]:
        """Pixels (1, 3, t, H, W) from -1 to 1."""
        raise NotImplementedError

    def _shape(self, frames: int, height: int, width: int) -> tuple[int, int, int, int, int]:
        channels = int(self.pipe.transformer.config.in_channels)
        return 1, channels, frames, height // self.space_stride, width // self.space_stride

    def _pass(
        self,
        noise: Tensor,
        prompt: str,
        params: SamplingParams,
        method: SamplingMethod,
        on_step: OnStep | None,
        number: int,
        count: int,
        **more: Any,
    ) -> Tensor:
        """Go through all steps once, the `number`th time of `count`; `more` goes to the call."""
        import torch

        self._decodes, done = False, number * params.steps

        def after_step(_: Any, __: int, ___: Any, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            nonlocal done
            done += 1
            if on_step is not None:
                total = count * params.steps
                on_step(min(done, total), total, tensors["latents"])
            return {}

        def run(noise: Tensor, _: float) -> Tensor:
            more["callback_on_step_end"] = after_step
            self._shift(params.shift)
            with self._step_cache(params.step_cache):
                return self._call(noise, prompt, params, output_type="latent", **more).float()

        def listen(done: int, _: int, latents: Tensor) -> None:
            if on_step is not None:
                on_step(number * params.steps + done, count * params.steps, latents)

        times = torch.linspace(0, 1, params.steps + 1)
        return method.loop(run, noise.to(self.device), times, listen)

    def add_loras(self, loras: Sequence[tuple[Path, float]]) -> None:
        """Put LoRAs, each with its scale, on the networks that they are for.

        Raises NotHereError where the pipeline takes none or peft is missing, `CheckpointError` for
        a file that is no LoRA, or one of another model.
        """
        name = type(self.pipe).__name__
        if not hasattr(self.pipe, "load_lora_weights"):
            raise NotHereError(f"{name} takes no LoRA: leave out --lora")
        if find_spec("peft") is None:
            raise NotHereError("LoRAs need the package peft: pip install 'lingen[hub]'")
        adapters = {f"given{number}": one for number, one in enumerate(loras, start=1)}
        for adapter, (path, _) in adapters.items():
            where = {"weight_name": path.name, "local_files_only": True}
            try:
                found = self.pipe.lora_state_dict(str(path.parent), **where)
                tensors = found[0] if isinstance(found, tuple) else found
                self._check_lora(path, tensors)
                with warnings.catch_warnings(action="ignore"):  # of a second one, say
                    self.pipe.load_lora_weights(str(path.parent), adapter_name=adapter, **where)
            except CheckpointError:
                raise
            except Exception as error:  # nearly anything, for a file of another kind
                raise CheckpointError(
                    f"{path} is no LoRA that {name} can use: {one_line(error)}"
                ) from error
        self.pipe.set_adapters(list(adapters), [scale for _, scale in adapters.values()])

    def _check_lora(self, path: Path, tensors: Mapping[str, Any]) -> None:
        """Raise `CheckpointError` for a LoRA on layers that this model does not have."""
        parts = {
            part: {name for name, _ in network.named_modules()}
            for part, network in fit.networks(self.pipe).items()
        }
        layers = {re.split(r"\.(?:lora|dora|diff|alpha)", key)[0] for key in tensors}
        known = {f"{part}.{name}" for part, names in parts.items() for name in names}
        strange = sorted(layers - known)
        if strange or not layers:
            raise CheckpointError(
                f"{path} is a LoRA of another model: {self.model.name} has no "
                f"{strange[0] if strange else 'layer that it changes'}"
            )

    def _shift(self, shift: float) -> None:
        """Give the scheduler a shift; 0 is that of its configuration."""
        scheduler, name = self.pipe.scheduler, shift_name(self.pipe.scheduler)
        own = self._own_scheduler or scheduler
        self._own_scheduler = own
        if not shift or name is None:
            self.pipe.scheduler = own
            return
        changes = {name: shift}
        if own.config.get("use_dynamic_shifting"):
            changes["use_dynamic_shifting"] = False
        self.pipe.scheduler = type(own).from_config(own.config, **changes)

    @contextmanager
    def _step_cache(self, threshold: float) -> Iterator[None]:
        """Inside, denoisers skip their blocks where the first of them changes less than this."""
        if not threshold:
            yield
            return
        hooks = import_module("diffusers.hooks")
        found = (getattr(self.pipe, name, None) for name in ("transformer", "transformer_2"))
        denoisers = [one for one in found if one is not None]
        try:
            for one in denoisers:
                one.enable_cache(hooks.FirstBlockCacheConfig(threshold=threshold))
        except (ValueError, AttributeError) as error:
            raise NotHereError(
                f"{type(denoisers[0]).__name__} has no step cache: leave out --step-cache"
            ) from error
        try:
            yield
        finally:
            for one in denoisers:
                one.disable_cache()

    def _call(self, noise: Tensor, prompt: str, params: SamplingParams, **more: Any) -> Tensor:
        """The latents that the pipeline makes of `noise`."""
        _, _, frames, height, width = noise.shape
        count = {self._frames_name: 1 + self.time_stride * (frames - 1)}
        found: Tensor = self.pipe(
            prompt=prompt,
            negative_prompt=params.negative_prompt,
            **count,
            height=height * self.space_stride,
            width=width * self.space_stride,
            num_inference_steps=params.steps,
            guidance_scale=params.guidance_scale,
            latents=noise,
            **more,
        ).frames
        return found

    @staticmethod
    def _refuse(conditioning: Conditioning) -> None:
        """Raise NotImplementedError for images, fades and layouts, which the command line has
        refused before."""
        one = conditioning
        given = (one.first_frame, one.last_frame, one.fade, one.layout, one.video)
        if any(part is not None for part in given):
            raise NotImplementedError("this pipeline takes no images, videos, fades and layouts")


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def to_uint8(pixels: Tensor) -> Tensor:
    """(1, 3, t, H, W) from -1 to 1 -> uint8 (t, H, W, 3), rounded as `diffusers` does for PIL, in
    the precision of the pixels."""
    import torch

    whole = (pixels[0] * 0.5 + 0.5).clamp(0, 1).float() * 255
    return whole.round().to(torch.uint8).permute(1, 2, 3, 0).cpu()
