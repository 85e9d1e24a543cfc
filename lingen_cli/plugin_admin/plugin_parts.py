"""Errors of the parts of plugins, as exit codes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lingen_cli.errors import BadDataError, MissingInputError, NotAvailableError
from lingen_plugins.errors import MissingFolderError, NotHereError


@contextlib.contextmanager
def found() -> Iterator[None]:
    """Inside, a part that is missing raises MissingInputError (66), a package or weights that this
    machine lacks NotAvailableError (69), and files that cannot be used BadDataError (65)."""
    from lingen_models.checkpoints.safetensors import CheckpointError

    try:
        yield
    except MissingFolderError as error:
        raise MissingInputError(str(error)) from error
    except NotHereError as error:
        raise NotAvailableError(str(error)) from error
    except CheckpointError as error:
        raise BadDataError(str(error)) from error
