"""Shares of the parts of a step, in a pass of its own: marks slow a step down a little.

Every module is of a part; time between two marks is that of the innermost part that is open. What
belongs to none (norms, modulation, gates, sums, embeddings) is `other`. A transpose that is only
a view costs where it is read, so part of the cost of `rms` is found there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lingen_models.kernels import dispatch as kernels
from lingen_models.networks import attention, mate
from lingen_models.networks import mamba2 as mamba
from lingen_models.networks import window_attention as tesa
from lingen_models.networks.block import FeedForward
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.scan_orders import Scan
from lingen_training.bench.step import Step, moment

OTHER = "other"
_MODULES: dict[type[nn.Module], str] = {
    mate.MambaBranch: "ma",
    tesa.WindowAttention: "tesa",
    attention.FullAttention: "attention",
    attention.CrossAttention: "text",
    FeedForward: "ffn",
}


class Marks:
    """Moments between which time is counted for the innermost open part."""

    def __init__(self, device: str) -> None:
        self.device = device
        self.open = [OTHER]
        self.found: list[tuple[str, Any]] = []

    def mark(self) -> None:
        """The time until now is that of the part that is open."""
        if self.device == "cpu":
            self.found.append((self.open[-1], time.perf_counter()))
            return
        event = moment()
        event.record()
        self.found.append((self.open[-1], event))

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what is inside as this part."""
        self.mark()
        self.open.append(name)
        yield
        self.mark()
        self.open.pop()

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each part, from the first mark on."""
        if self.device != "cpu":
            torch.cuda.synchronize()
        total: dict[str, float] = {}
        for (_, before), (name, now) in zip(self.found, self.found[1:], strict=False):
            took = now - before if self.device == "cpu" else before.elapsed_time(now) / 1e3
            total[name] = total.get(name, 0.0) + took
        return total


def shares(network: LinGen, step: Step, tokens: int, device: str) -> dict[str, float]:
    """The share in the time of one step of each part; they sum to 1.

    `tokens` of the video tell projections of tokens from those of review tokens.
    """
    marks = Marks(device)

    def of_tokens(x: Tensor) -> str:
        return "ma" if x.shape[1] == tokens else "review"

    with ExitStack() as stack:
        for module in network.modules():
            if name := _MODULES.get(type(module)):
                stack.enter_context(_marked(marks, module, "forward", name))
            if isinstance(module, mamba.BidirectionalMamba2):
                for part in (module.in_proj, module.conv1d):
                    stack.enter_context(_marked(marks, part, "forward", of_tokens))
        for text_in in network.text_in:
            stack.enter_context(_marked(marks, text_in, "forward", "text"))
        for name in ("flatten", "restore"):
            stack.enter_context(_marked(marks, Scan, name, "rms"))
        stack.enter_context(_marked(marks, mate, "review_tokens", "review"))
        stack.enter_context(_marked(marks, mamba, "scan_with_review", "scan"))
        for owner, name in _final_states(device):
            stack.enter_context(_marked(marks, owner, name, "review"))
        marks.mark()
        step()
        marks.mark()
    seconds = marks.seconds()
    whole_step = sum(seconds.values())
    return {name: took / whole_step for name, took in seconds.items()}


@contextmanager
def _marked(
    marks: Marks, owner: Any, name: str, part: str | Callable[[Tensor], str]
) -> Iterator[None]:
    """A function of a module or a class, or of a network, whose time is that of a part, which may
    be told by its first argument."""
    function = getattr(owner, name)

    def marked(*arguments: Any, **options: Any) -> Any:
        with marks.part(part if isinstance(part, str) else part(arguments[0])):
            return function(*arguments, **options)

    setattr(owner, name, marked)
    try:
        yield
    finally:
        if isinstance(owner, nn.Module):
            delattr(owner, name)  # what its class has shows again
        else:
            setattr(owner, name, function)


def _final_states(device: str) -> Iterator[tuple[Any, str]]:
    yield kernels, "final_states"
    if kernels.scan_route(torch.device(device), gradients=False) == "triton":
        from lingen_models.kernels import triton_ssd

        yield triton_ssd, "final_states_triton"
