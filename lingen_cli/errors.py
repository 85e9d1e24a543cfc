"""The exception tree, which is also the list of exit codes (reliability.md C3).

A message is one line: what is wrong, where, and what to do about it. `lingen_cli.app.main` prints
it as `lingen: error: MESSAGE` and leaves with `exit_code`.

* LingenError
  - CheckFailedError       1   a video that was measured or compared and found wanting
  - SomeFailedError        1   a batch of which some jobs failed
  - InvalidOptionError     2   wrong usage: an argument, an option, a name
  - BadDataError          65   a video, image, prompt file or checkpoint that cannot be used
    - StoryError          65   with a line for each problem
    - DamagedJournalError 65   the record of a stopped run
  - MissingInputError     66   a file or folder that should be there
  - NotAvailableError     69   a device, encoder, package or set of weights this machine lacks
  - BugError              70   lingen itself is wrong
  - OutOfMemory           71
  - OutputExistsError     73   never overwritten without being asked
  - WriteFailedError      74
    - DiskFullError       74
  - LockedError           75   another run holds the same output
  - PermissionDeniedError 77
  - ConfigFileError       78
"""

from typing import ClassVar

INTERRUPTED = 130
TERMINATED = 143


class LingenError(Exception):
    """Something the user can act on; `str(error)` is one line."""

    exit_code: ClassVar[int] = 70


class CheckFailedError(LingenError):
    """A video that does not pass the check that was asked for."""

    exit_code = 1


class SomeFailedError(LingenError):
    """A batch in which some jobs failed; the others are done."""

    exit_code = 1


class InvalidOptionError(LingenError):
    """An argument or option that no run could accept."""

    exit_code = 2


class BadDataError(LingenError):
    """A file that was read and found unusable."""

    exit_code = 65


class MissingInputError(LingenError):
    """A file or folder that does not exist, or is not a regular file."""

    exit_code = 66


class NotAvailableError(LingenError):
    """A device, an encoder, a package or weights that this machine does not have."""

    exit_code = 69


class BugError(LingenError):
    """A state that lingen promises never to reach."""

    exit_code = 70


class OutOfMemory(LingenError):
    """The machine or the GPU has too little memory for these settings."""

    exit_code = 71


class OutputExistsError(LingenError):
    """The output is there already, or belongs to a run with other settings."""

    exit_code = 73


class WriteFailedError(LingenError):
    """The output could not be written."""

    exit_code = 74


class DiskFullError(WriteFailedError):
    """No space, no quota, or a file size limit was reached."""


class LockedError(LingenError):
    """Another run is writing the same output."""

    exit_code = 75


class PermissionDeniedError(LingenError):
    """The operating system refused access."""

    exit_code = 77


class ConfigFileError(LingenError):
    """A settings file with a syntax error, an unknown key or a wrong type."""

    exit_code = 78
