"""Hints for command lines that cannot be read: what was probably meant."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Sequence

import typer

from lingen_cli.errors import InvalidOptionError
from lingen_models.spelling import nearest

_COMMANDS = {
    "create": "generate",
    "make": "generate",
    "render": "generate",
    "new": "generate",
    "video": "generate",
    "list": "models list",
    "download": "models pull",
    "info": "show",
    "inspect": "show",
    "longer": "extend",
    "edit": "retake",
    "serve": "gallery --serve",
    "web": "gallery --serve",
    "help": "--help",
    "version": "--version",
    "env": "doctor",
}
"""Words of other tools -> what it is here."""
_OPTIONS = {
    "--length": "--seconds",
    "--duration": "--seconds",
    "--time": "--seconds",
    "--width": "--size",
    "--height": "--size",
    "--resolution": "--size",
    "--out": "--output",
    "--outfile": "--output",
    "--force": "--overwrite",
    "--cfg": "--guidance",
    "--cfg-scale": "--guidance",
    "--guidance-scale": "--guidance",
    "--negative-prompt": "--negative",
    "--num-steps": "--steps",
    "--num-inference-steps": "--steps",
    "--fast": "--steps",
    "--num-frames": "--frames",
    "--init-image": "--image",
    "--scheduler": "--sampler",
    "--silent": "--quiet",
    "--gpu": "--device",
    "--cpu": "--device",
}
"""Options of other tools -> what it is here, where the command has that."""
_NUMBER = re.compile(r"Invalid value for '([^']+)'.*: Input should be a valid (integer|number).*")


def with_hint(error: BaseException, arguments: Sequence[str]) -> BaseException:
    """Return an error of a command line with what to write instead, where that can be told."""
    context = getattr(error, "ctx", None)
    if not isinstance(error, typer.TyperException) or context is None:
        return error
    text = " ".join(error.format_message().split())
    words = list(itertools.takewhile(lambda word: not word.startswith("-"), arguments))
    if text.startswith("No such command"):
        return InvalidOptionError(_command_hint(context, words))
    if text.startswith("No such option"):
        return InvalidOptionError(_option_hint(context, str(getattr(error, "option_name", ""))))
    if found := _NUMBER.fullmatch(text):
        kind = {"integer": "a whole number", "number": "a number"}[found[2]]
        return InvalidOptionError(f"{found[1]} must be {kind}; {_help(context)}")
    if "unexpected extra argument" in text and words[:1] in (["generate"], ["plan"]):
        prompt = shlex.quote(" ".join(words[1:]))
        return InvalidOptionError(f"put the prompt in quotes: lingen {words[0]} {prompt}")
    if text.startswith("Missing "):
        usage = " ".join(context.get_usage().split()).replace("{", "").replace("}", "")
        text = text.replace("Missing", "missing").rstrip(".")
        return InvalidOptionError(f"{text}; {usage.replace('Usage', 'usage')}; {_help(context)}")
    return error


def _command_hint(context: typer.Context, words: Sequence[str]) -> str:
    """For a word that is no command of the group of `context`."""
    known = list(getattr(context.command, "commands", {}))
    path, inside = context.command_path, context.parent is not None
    word = words[1] if inside and len(words) > 1 else words[0] if words else ""
    if not inside and " " in word:
        return f"no such command; did you mean: lingen generate {shlex.quote(word)}"
    if not inside and word == "help" and words[1:2] and words[1] in known:
        return f"no such command 'help'; did you mean: lingen {words[1]} --help"
    near = (None if inside else _COMMANDS.get(word)) or nearest(word, known)
    hint = f"did you mean: {path} {near}" if near else _help(context)
    return f"no such command {word!r}; {hint}"


def _option_hint(context: typer.Context, option: str) -> str:
    """For an option that the command of `context` does not have."""
    known = [
        name
        for one in context.command.params
        for name in (*one.opts, *one.secondary_opts)
        if name.startswith("--")
    ]
    meant = _OPTIONS.get(option)
    near = meant if meant in known else nearest(option, known, cutoff=0.7)
    hint = f"did you mean {near!r}?" if near else _help(context)
    return f"no such option {option!r}; {hint}"


def _help(context: typer.Context) -> str:
    return f"see: {context.command_path} --help"
