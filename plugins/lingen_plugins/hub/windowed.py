"""Pipelines that go on with a video, window by window, from its latents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from lingen_plugins.hub.families.on_wan import OnWanLatents

if TYPE_CHECKING:
    from torch import Tensor

    from lingen_models.sampling.conditioning import Conditioning
    from lingen_models.sampling.denoise import OnStep, SamplingMethod
    from lingen_models.sampling.params import SamplingParams

LONGEST_PROMPT = 512
"""Tokens; what the pipelines take by themselves."""


class WindowedPipeline(OnWanLatents):
    """A family says in `_plan` how a stretch is cut, and in `_call` what a window sees."""

    _read: tuple[tuple[str, str, bool], dict[str, Any]] | None = None
    """Prompts, and what the text encoder made of them."""

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
        """Yield `frames` latent frames that follow `history`, as `TextToVideo.extend`.

        The noise of a new video is drawn window after window from the seed, as the pipelines do by
        themselves; that of a part that follows others, from the seed and its place.
        """
        import torch

        from lingen_models.sampling.windows import place_seed

        self._refuse(conditioning)
        prompt, have = conditioning.prompt, history.shape[2]
        known = history[:, :, have if conditioning.fresh else 0 :].to(self.device).float()
        plan = list(self._plan(known.shape[2], frames, windows))
        seed = place_seed(params.seed, have) if have else params.seed
        generator = torch.Generator().manual_seed(seed)
        for number, (past, new) in enumerate(plan):
            shape = (*known.shape[:2], self._drawn(past, new), *known.shape[3:])
            noise = torch.randn(shape, generator=generator)
            more = {"known": known, "past": past, "place": have}
            window = self._pass(noise, prompt, params, method, on_step, number, len(plan), **more)
            piece = window[:, :, -new:]
            yield piece
            known, have = torch.cat((known, piece.to(known)), 2), have + new

    def _drawn(self, past: int, new: int) -> int:
        """Latent frames of noise for a window."""
        return past + new

    def _text(self, prompt: str, params: SamplingParams) -> dict[str, Any]:
        """What the text encoder makes of the prompts: asked once for all windows."""
        guided = params.guidance_scale > 1
        key = (prompt, params.negative_prompt, guided)
        if self._read is None or self._read[0] != key:
            texts = self.pipe.encode_prompt(
                prompt=prompt,
                negative_prompt=params.negative_prompt,
                do_classifier_free_guidance=guided,
                max_sequence_length=LONGEST_PROMPT,
            )
            names = ("prompt_embeds", "negative_prompt_embeds")
            self._read = key, dict(zip(names, texts, strict=True))
        return self._read[1]
