"""Errors of names and records; the messages are one line each."""

from collections.abc import Iterable

from lingen_models.spelling import did_you_mean


class PluginError(ValueError):
    """A plugin, or a reference to something that a plugin registers, is wrong."""


class UnknownNameError(PluginError):
    """No plugin registers a component of this name."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        hint = did_you_mean(name, known, cutoff=0.5)
        super().__init__(f"unknown {kind} {name!r}; {hint}")


class DuplicateNameError(PluginError):
    """Two plugins register a component of one kind under one name."""

    def __init__(self, kind: str, name: str, first: str, second: str) -> None:
        super().__init__(
            f"{kind} {name!r} is registered by both {first!r} and {second!r}; "
            f"that of {first!r} is used"
        )


class MissingFolderError(Exception):
    """A folder of weights, or one that should be in it, is not there."""


class DoesNotFitError(Exception):
    """Weights that the card is too small for; the message names part, size and card."""


class NotHereError(Exception):
    """A package, a plugin or weights that this machine lacks; the message says how to get them."""
