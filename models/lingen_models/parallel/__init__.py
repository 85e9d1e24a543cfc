"""One clip divided over several processes: each holds a slab of its latent frames."""
