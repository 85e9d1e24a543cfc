"""The check of text encoders."""

from __future__ import annotations

from pathlib import Path

from lingen_plugins.contracts import TextEncoder
from lingen_plugins.parts import number_of
from lingen_plugins.testing.claims import (
    build_part,
    check_basics,
    check_tensor,
    expect,
)

PROMPTS = ("a red ball", "", "two green squares bounce slowly on a blue background " * 60)


def check_text_encoder(encoder: TextEncoder, folder: Path | None = None) -> None:
    """Prompts of any length become features of `feature_dim`, and a mask that is true to them.

    The module that `build` returns has `tokens(prompts) -> Tensor`, `unknown_words(prompt) ->
    list[str]`, and, called with the tokens, returns features (B, L, feature_dim) and a boolean
    mask (B, L), True at real tokens. One that reads weights is built from `folder`; without it,
    only the record is looked at.
    """
    import torch

    whose = check_basics(encoder, TextEncoder)
    network = build_part(whose, encoder, folder)
    if network is None:
        return
    size = number_of(network, encoder, "feature_dim")
    for method in ("tokens", "unknown_words"):
        expect(
            callable(getattr(network, method, None)),
            whose,
            f"what build returns has no method {method}",
            "lingen calls it with prompts",
        )

    @torch.inference_mode()
    def encode(*prompts: str) -> tuple[torch.Tensor, torch.Tensor]:
        tokens = network.tokens(list(prompts))  # type: ignore[operator]
        answer = network(tokens)
        expect(
            isinstance(answer, tuple) and len(answer) == 2,
            whose,
            "it does not return two things",
            "return features and mask",
        )
        features, mask = answer
        expect(
            isinstance(mask, torch.Tensor) and mask.dtype == torch.bool and mask.dim() == 2,
            whose,
            "its mask is no boolean tensor (B, L)",
            "True means a real token",
        )
        expect(
            mask.shape[0] == len(prompts),
            whose,
            f"{len(prompts)} prompts give a mask of {mask.shape[0]} rows",
            "one row for each prompt",
        )
        shape = (*mask.shape, size)
        return check_tensor(whose, "what it makes of prompts", features, shape), mask

    features, mask = encode(*PROMPTS)
    expect(
        bool(mask.any(1).all()),
        whose,
        "a prompt without words has no token that is real",
        "begin every row with a token: attention to nothing is not a number",
    )
    lengths = mask.sum(1).tolist()
    expect(
        lengths[1] < lengths[0] < lengths[2],
        whose,
        f"an empty, a short and a long prompt have {lengths[1]}, {lengths[0]} and {lengths[2]} "
        "real tokens",
        "the mask must leave out the padding",
    )
    expect(
        torch.equal(encode(*PROMPTS)[0], features),
        whose,
        "the same prompts give other features the second time",
        "leave out chance in evaluation mode",
    )
    for row, prompt in enumerate(PROMPTS):
        alone, real = encode(prompt)
        expect(
            int(real.sum()) == lengths[row]
            and torch.allclose(alone[real], features[row][mask[row]], atol=1e-4, rtol=1e-3),
            whose,
            f"{prompt[:20]!r} has other features beside a longer prompt than alone",
            "real tokens must not look at the padding",
        )
    unknown = network.unknown_words(PROMPTS[0])  # type: ignore[operator]
    expect(
        isinstance(unknown, list) and set(unknown) <= set(PROMPTS[0].split()),
        whose,
        f"unknown_words({PROMPTS[0]!r}) is {unknown!r}",
        "return a list of those words of the prompt that training never met",
    )
