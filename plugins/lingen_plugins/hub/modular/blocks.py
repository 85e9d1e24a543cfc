"""A modular pipeline of `diffusers`, with what `BySignature` and the fit ladder ask of any other.

Inputs of its blocks are its arguments; its guider has the guidance scale. Only blocks and classes
of `diffusers` itself are run, never code that lies in a folder.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

INDEX = "modular_model_index.json"
_VIDEOS = ("videos", "video")
"""Names of the output that is a video."""
_GUIDANCE = "guidance_scale"


class RunsAsPipeline:
    """Base that a modular pipeline gets beside its own class."""

    components: Mapping[str, Any]
    arguments: Mapping[str, inspect.Parameter]
    """Inputs of its blocks, and the guidance scale."""
    _output: str

    def __call__(self, **given: Any) -> tuple[Any]:
        """Run all blocks. Return the video, as the only one of several outputs."""
        scale = given.pop(_GUIDANCE, None)
        if scale is not None:
            guider: Any = self.__dict__["guider"]
            self.__dict__["guider"] = guider.new(guidance_scale=scale)
        run: Any = super().__call__  # type: ignore[misc]
        return (run(output=self._output, **given),)

    def enable_model_cpu_offload(self, device: str) -> None:
        """Keep on the card only the network that computes: each sends the one before back."""
        accelerate, before = import_module("accelerate"), None
        for network in self._networks():
            _, before = accelerate.cpu_offload_with_hook(network, device, before)

    def remove_all_hooks(self) -> None:
        """Let every network stay where it is."""
        hooks = import_module("accelerate.hooks")
        for network in self._networks():
            hooks.remove_hook_from_module(network, recurse=True)

    def _networks(self) -> list[Any]:
        from torch import nn

        return [one for one in self.components.values() if isinstance(one, nn.Module)]


def assemble(folder: Path, parts: Mapping[str, Any]) -> Any:
    """The modular pipeline in a folder with these parts; others stay empty.

    Raises ValueError where it makes no video, or sound without an autoencoder for it, and what
    `diffusers` raises.
    """
    logging.getLogger("diffusers.modular_pipelines").setLevel(logging.CRITICAL)  # it raises as well
    diffusers = import_module("diffusers")
    pipe = diffusers.ModularPipeline.from_pretrained(
        str(folder), local_files_only=True, trust_remote_code=False
    )
    outputs = {str(one.name) for one in pipe.blocks.outputs}
    output = next((one for one in _VIDEOS if one in outputs), None)
    if output is None:
        raise ValueError(f"its blocks give {', '.join(sorted(outputs)) or 'nothing'}, no video")
    if any("audio" in one for one in outputs) and "audio_vae" not in pipe.component_names:
        raise ValueError("its blocks give sound beside the video, which lingen would lose")
    _without_bars(pipe._blocks)  # `blocks` is a copy
    known = set(pipe.component_names)
    pipe.update_components(**{name: one for name, one in parts.items() if name in known})
    kind = type(pipe)
    pipe.__class__ = type(kind.__name__, (RunsAsPipeline, kind), {})
    pipe._output = output
    pipe.arguments = _arguments(pipe)
    return pipe


def _without_bars(blocks: Any) -> None:
    """Let no block draw a progress bar."""
    for one in blocks.sub_blocks.values():
        if hasattr(one, "set_progress_bar_config"):
            one.set_progress_bar_config(disable=True)
        _without_bars(one)


def _arguments(pipe: Any) -> dict[str, inspect.Parameter]:
    made = {one.name for one in pipe.blocks.intermediate_outputs}  # by one block for another
    given = {
        str(one.name): inspect.Parameter.empty
        if one.required and one.default is None and one.name not in made
        else one.default
        for one in pipe.blocks.inputs
        if one.name is not None
    }
    scale = getattr(getattr(pipe, "guider", None), _GUIDANCE, None)
    if scale is not None:
        given[_GUIDANCE] = scale
    only = inspect.Parameter.KEYWORD_ONLY
    return {name: inspect.Parameter(name, only, default=one) for name, one in given.items()}
