"""Text that is safe to show on a terminal."""

import os


def printable(text: str | os.PathLike[str]) -> str:
    """`text` on one line and safe for a terminal: anything that is not printable as `\\x1b`."""
    plain = os.fspath(text).encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in plain
    )
