"""The networks that a stage trains together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lingen_models.checkpoints.pretrained import TextReader
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.word_encoder import WordEncoder
from lingen_training.stages.alignment import AlignmentHead


class Pair(nn.Module):
    """The denoiser and its word encoder, trained as one; or the denoiser, with frozen encoders."""

    def __init__(
        self,
        denoiser: LinGen,
        text_encoder: WordEncoder | None,
        frozen: Sequence[TextReader] = (),
    ) -> None:
        super().__init__()
        self.denoiser = denoiser
        self.text_encoder = text_encoder
        self.alignment: AlignmentHead | None = None
        """Of a stage that aligns with the ground truth."""
        self.has_adapter = False
        """A LoRA is on the denoiser, and nothing else is trained (`stages.adapters`)."""
        self.frozen = tuple(frozen)
        """Not registered: they are neither trained, nor saved, nor cast."""
        self.dtype: torch.dtype | None = None
        """The dtype of the computation, where parameters are kept in another."""

    def read(self, prompts: Sequence[str]) -> tuple[list[Tensor], list[Tensor]]:
        """Features and masks of prompts, by text encoder."""
        pairs: list[tuple[Tensor, Tensor]] = []
        if self.text_encoder is not None:
            pairs.append(self.text_encoder(self.text_encoder.tokens(prompts)))
        pairs += [encoder.read(prompts) for encoder in self.frozen]
        like = self.denoiser.patch_in.weight
        masks = [mask.to(like.device) for _, mask in pairs]
        dtype = like.dtype if self.dtype is None else self.dtype
        return [features.to(like.device, dtype) for features, _ in pairs], masks
