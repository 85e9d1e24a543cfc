"""The denoiser, the autoencoder and the text encoder, and the layers that they share."""
