"""The `lingen` command: prompts in, verified videos out."""

import os

__version__ = "0.1.0"
TESTED = {"av": "19.0", "torch": "2.13"}
"""Packages whose interfaces change, and the newest version of each that lingen's tests ran with."""

# Must be in the environment before torch is imported anywhere: with OpenMP's default, waiting
# threads spin, and a busy machine becomes up to a hundred times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
