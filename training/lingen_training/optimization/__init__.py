"""The training loop, optimizers, and processes that share a step."""
