"""The scan of Mamba2 in PyTorch and in Triton, and the choice between them."""
