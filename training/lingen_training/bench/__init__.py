"""LinGen beside its DiT twin of the same size: FLOPs, time, memory (paper.md 4.2 to 4.4).

    python -m lingen_training.bench --preset mini --lengths 4,10,17

Needs torch, einops and numpy alone, so that it also runs where lingen is not installed.
"""
