"""The parts of the zoo that come with lingen: models, samplers, encoders, datasets."""
