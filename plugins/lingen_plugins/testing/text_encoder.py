"""The check of text encoders."""

from __future__ import annotations

from pathlib import Path

from lingen_plugins.contracts import TextEncoder
from lingen_plugins.parts import number_of
from lingen_plugins.testing.claims import Claims

PROMPTS = ("a red ball", "", "two green squares bounce slowly on a blue background " * 60)


def check_text_encoder(encoder: TextEncoder, folder: Path | None = None) -> None:
    """Prompts of any length become features of `feature_dim`, and a mask that is true to them.

    The module that `build` returns has `tokens(prompts) -> Tensor`, `unknown_words(prompt) ->
    list[str]`, and, called with the tokens, returns features (B, L, feature_dim) and a boolean
    mask (B, L), True at real tokens. One that reads weights is built from `folder`; without it,
    only the record is looked at.
    """
    import torch

    claims = Claims.of(encoder, TextEncoder)
    network = claims.part(encoder, folder)
    if network is None:
        return
    size = number_of(network, encoder, "feature_dim")
    methods = ("tokens", "unknown_words")
    claims.callables(network, "method", methods, "lingen calls it with prompts")

    @torch.inference_mode()
    def encode(*prompts: str) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = network.tokens(list(prompts))  # type: ignore[operator]
        answer = network(tokens)
        claims.expect(
            isinstance(answer, tuple) and len(answer) == 2,
            "it does not return two things",
            "return features and mask",
        )
        features, mask = answer
        claims.expect(
            isinstance(mask, torch.Tensor) and mask.dtype == torch.bool and mask.dim() == 2,
            "its mask is no boolean tensor (B, L)",
            "True means a real token",
        )
        claims.expect(
            mask.shape[0] == len(prompts),
            f"{len(prompts)} prompts give a mask of {mask.shape[0]} rows",
            "one row for each prompt",
        )
        shape = (*mask.shape, size)
        return claims.tensor("what it makes of prompts", features, shape), mask

    features, mask = encode(*PROMPTS)
    claims.expect(
        bool(mask.any(1).all()),
        "a prompt without words has no token that is real",
        "begin every row with a token: attention to nothing is not a number",
    )
    lengths = mask.sum(1).tolist()
    claims.expect(
        lengths[1] < lengths[0] < lengths[2],
        f"an empty, a short and a long prompt have {lengths[1]}, {lengths[0]} and {lengths[2]} "
        "real tokens",
        "the mask must leave out the padding",
    )
    claims.expect(
        torch.equal(encode(*PROMPTS)[0], features),
        "the same prompts give other features the second time",
        "leave out chance in evaluation mode",
    )
    for row, prompt in enumerate(PROMPTS):
        alone, real = encode(prompt)
        claims.expect(
            int(real.sum()) == lengths[row]
            and torch.allclose(alone[real], features[row][mask[row]], atol=1e-4, rtol=1e-3),
            f"{prompt[:20]!r} has other features beside a longer prompt than alone",
            "real tokens must not look at the padding",
        )
    unknown = network.unknown_words(PROMPTS[0])  # type: ignore[operator]
    claims.expect(
        isinstance(unknown, list) and set(unknown) <= set(PROMPTS[0].split()),
        f"unknown_words({PROMPTS[0]!r}) is {unknown!r}",
        "return a list of those words of the prompt that training never met",
    )
