"""Freed memory that is kept costs no page faults when it is wanted again."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from lingen_models.malloc import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

keep_freed_memory()
for _ in range(10):  # a few of a size lie apart before the first is used again
    torch.ones(2**24)
before = faults()
for _ in range(5):
    torch.ones(2**24)
print(faults() - before)
"""


def faults_of(**environment: str) -> int:
    """Page faults of five tensors of 64 MiB after some others."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("MALLOC_")}
    plain.pop("GLIBC_TUNABLES", None)
    done = subprocess.run(
        [sys.executable, "-c", FAULTS],
        capture_output=True,
        text=True,
        check=True,
        env=plain | environment,
    )
    return int(done.stdout)


@pytest.mark.skipif(os.confstr("CS_GNU_LIBC_VERSION") is None, reason="the C library is not glibc")
def test_large_tensors_are_cheap_the_second_time() -> None:
    assert faults_of() < 100


def test_what_the_environment_says_is_left_alone() -> None:
    assert faults_of(MALLOC_ARENA_TEST="8") > 100
