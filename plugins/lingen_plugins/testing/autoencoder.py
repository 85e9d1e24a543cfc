"""The check of autoencoders."""

from __future__ import annotations

from pathlib import Path

from lingen_plugins.contracts import Autoencoder
from lingen_plugins.parts import SIZES, number_of
from lingen_plugins.testing.claims import Claims


def check_autoencoder(codec: Autoencoder, folder: Path | None = None) -> None:
    """Videos of 1 + k * time_stride frames become 1 + k latent frames, and come back in size.

    The module that `build` returns has `encode(video (B, 3, F, H, W))` to latents and
    `decode(latents)` back. Where it has `decode_in_chunks(latents, chunk)`, the pieces are the
    same video. One that reads weights is built from `folder`; without it, only the record is
    looked at.
    """
    import torch

    claims = Claims.of(codec, Autoencoder)
    network = claims.part(codec, folder)
    channels, stride, side = sizes = [number_of(network, codec, name) for name in SIZES]
    for name, value in zip(SIZES, sizes, strict=True):
        claims.expect(value >= 1, f"{name} is {value}", "it must be at least 1")
    if network is None:
        return
    claims.callables(network, "method", ("encode", "decode"), "lingen calls it")
    torch.manual_seed(0)
    for later, high, wide in ((0, 1, 2), (2, 3, 2)):
        frames = 1 + later * stride
        height, width = high * side, wide * side
        video = torch.rand(1, 3, frames, height, width) * 2 - 1
        shown = f"a video of {frames} frames of {width} x {height}"
        with torch.inference_mode():
            encoded = network.encode(video)  # type: ignore[operator]
            shape = (1, channels, 1 + later, high, wide)
            latents = claims.tensor(f"encode of {shown}", encoded, shape)
            decoded = network.decode(latents)  # type: ignore[operator]
            back = claims.tensor(f"decode of {shown}", decoded, tuple(video.shape))
            again = network.encode(video)  # type: ignore[operator]
        claims.expect(
            torch.equal(again, latents),
            "the same video gives other latents the second time",
            "encode must return the mean, not draw from it",
        )
        if hasattr(network, "decode_in_chunks"):
            with torch.inference_mode():
                pieces = list(network.decode_in_chunks(latents, 1))  # type: ignore[operator]
            whole = claims.tensor("decode_in_chunks", torch.cat(pieces, 2), tuple(video.shape))
            claims.expect(
                torch.allclose(whole, back, atol=1e-3),
                "decode_in_chunks gives another video than decode",
                "carry what temporal layers saw from one piece to the next",
            )
