"""The recipe of a training of seconds, as TOML."""

PARTS = """
[autoencoder]
widths = [8, 8, 8]
depths = [1, 1, 1]
steps = 1
batch = 1
full_size = 64
full_batch = 1
frames = 9

[text]
width = 64
depth = 1
"""
"""An autoencoder and a text encoder that are trained with the rest."""
STAGE = """
[[stage]]
name = "one"
steps = 2
learning_rate = 1e-2
warmup = 0
{more}

[[stage.source]]
size = 64
latent_frames = 2
batch = 1
clips = 1
"""
"""A stage of one clip; `more` are further keys."""


def tiny_recipe(
    stages: str = STAGE.format(more=""),
    *,
    name: str = "tiny",
    parts: str = PARTS,
    depth: int = 2,
    text_dims: str = "text_dims = [64]",
    mixer: str = "mate",
) -> str:
    """Return a recipe of these stages; `text_dims` is empty where `parts` say what it is."""
    return f"""
name = "{name}"
seed = 3
{parts}
[model]
preset = "mini"

[model.overrides]
width = 32
depth = {depth}
head_dim = 16
ssm_head_dim = 16
state_size = 4
{text_dims}
position_grid = [8, 8, 8]
mixer = "{mixer}"
{stages}"""
