"""LinGen's networks, samplers and checkpoints: PyTorch only, no consoles and no plugins.

Shape letters used in names and docstrings: B batch, T latent frames, H height and W width in
tokens (or pixels, where said), N = T*H*W tokens, L sequence length, D features, K heads,
P features per head, S state size, C channels.
"""
