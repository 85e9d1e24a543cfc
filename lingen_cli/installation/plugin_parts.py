"""Errors of the parts of plugins, as exit codes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from lingen_cli.errors import BadDataError, MissingInputError, NotAvailableError, OutOfMemory
from lingen_models.checkpoints.safetensors import CheckpointError
from lingen_plugins.plugin_errors import DoesNotFitError, MissingFolderError, NotHereError


@contextlib.contextmanager
def found() -> Iterator[None]:
    """Inside, a part that is missing raises MissingInputError (66), a package or weights that this
    machine lacks NotAvailableError (69), files that cannot be used BadDataError (65), and weights
    that a card is too small for OutOfMemory (71)."""
    try:
        yield
    except MissingFolderError as error:
        raise MissingInputError(str(error)) from error
    except NotHereError as error:
        raise NotAvailableError(str(error)) from error
    except DoesNotFitError as error:
        raise OutOfMemory(str(error)) from error
    except CheckpointError as error:
        raise BadDataError(str(error)) from error
