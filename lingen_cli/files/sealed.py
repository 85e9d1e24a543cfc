"""JSON files with a checksum over all that they say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SUM = "sha256"


def sealed(facts: Mapping[str, Any]) -> bytes:
    """`facts` as JSON, with their checksum among them as `sha256`."""
    return json.dumps({**facts, SUM: sum_of(facts)}).encode()


def unsealed(data: bytes) -> dict[str, Any]:
    """The facts of such a file, and their checksum. Raises ValueError where they are not whole."""
    try:
        found = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(found, dict):
        raise ValueError("not a JSON object")
    if found.get(SUM) != sum_of({name: one for name, one in found.items() if name != SUM}):
        raise ValueError("its checksum is wrong")
    return found


def sum_of(facts: Mapping[str, Any]) -> str:
    """SHA-256 of `facts` as JSON."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
