"""Write the manual page of the command from its help texts.

python scripts/man_page.py docs/lingen.1
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from lingen_cli import __version__
from lingen_cli.app import app
from lingen_cli.usage.help import EXAMPLES


def man_page() -> str:
    """Return the page in roff."""
    root: Any = typer.main.get_command(app)
    lines = [
        f'.TH LINGEN 1 "" "lingen {__version__}" "User Commands"',
        ".SH NAME",
        r"lingen \- minute-length videos from a prompt",
        ".SH SYNOPSIS",
        ".B lingen",
        r"[\fIOPTIONS\fR] \fICOMMAND\fR [\fIARGUMENTS\fR]",
        ".SH DESCRIPTION",
        _text(root.help or ""),
        ".SH OPTIONS",
        *_options(root),
    ]
    for name, command in root.commands.items():
        inner = getattr(command, "commands", None)
        if inner is None:
            lines += _command(name, command)
            continue
        for sub, one in inner.items():
            lines += _command(f"{name} {sub}", one)
    lines += [
        ".SH EXIT STATUS",
        "0 where all is done; otherwise one of the codes in docs/exit-codes.md, and one line on",
        "standard error.",
        ".SH SEE ALSO",
        r"\fBffmpeg\fR(1), \fBmpv\fR(1)",
    ]
    return "\n".join(lines) + "\n"


def _command(name: str, command: Any) -> list[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    names = " ".join(_italic(one.display_name_raw) for one in arguments)
    lines = [f".SH LINGEN {name.upper()}", f".B lingen {name}", f"{names} [{_italic('OPTIONS')}]"]
    lines += [".PP", *(_text(part) for part in (command.help or "").split("\n\n"))]
    for one in arguments:
        lines += [".TP", _italic(one.display_name_raw), _text(one.help or "")]
    lines += _options(command)
    lines += [".PP", "Examples:"]
    for example in EXAMPLES[name]:
        lines += [".PP", ".nf", f"    {_plain(example)}", ".fi"]
    return lines


def _options(command: Any) -> list[str]:
    lines: list[str] = []
    for one in command.params:
        if one.param_type_name != "option" or one.hidden or "--help" in one.opts:
            continue
        value = "" if one.is_flag else f" {_italic(one.metavar or 'VALUE')}"
        names = ", ".join(rf"\fB{_plain(name)}\fR" for name in (*one.opts, *one.secondary_opts))
        lines += [".TP", names + value, _text(one.help or "") + _default(one)]
    return lines


def _default(option: Any) -> str:
    if isinstance(option.show_default, str):
        return f" Default: {_plain(option.show_default)}."
    value = option.default
    plain = value is None or isinstance(value, bool) or value == ()
    return "" if plain else f" Default: {_plain(str(value))}."


def _italic(text: str) -> str:
    return rf"\fI{_plain(text)}\fR"


def _text(text: str) -> str:
    return _plain(" ".join(text.split()))


def _plain(text: str) -> str:
    """Text that roff takes for nothing else."""
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return rf"\&{text}" if text.startswith((".", "'")) else text


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(man_page(), encoding="utf-8")
