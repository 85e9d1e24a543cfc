"""Panels of `lingen --help`, and the examples on the help page of every command."""

from __future__ import annotations

MAKE, LOOK, BATCH, MODELS, RESEARCH, SETUP = (
    "Make videos",
    "Look at videos",
    "Many videos, and runs that were stopped",
    "Models and plugins",
    "Train and measure",
    "Set up",
)

EXAMPLES: dict[str, tuple[str, ...]] = {
    "generate": (
        'lingen generate "a red ball bounces on green grass" --minutes 1',
        'lingen generate "a large yellow star spins" --seconds 10 --seed 7 -o star.mp4 --preview',
    ),
    "plan": ('lingen plan "a red ball bounces on green grass" --minutes 5 --fit 4GB',),
    "extend": (
        "lingen extend ball.mp4 --seconds 10",
        'lingen extend holiday.mov --prompt "a yellow star circles in the blue sky"',
    ),
    "continue": ('lingen continue ball.mp4 "a red ball spins on green grass" --seconds 5',),
    "branch": ('lingen branch ball.mp4 "a red ball moves left on green grass" --at 2s',),
    "retake": ("lingen retake ball.mp4 --from 12s --to 15s",),
    "layout": ('lingen layout "a red ball bounces on green grass" --seed 3 > ball.json',),
    "show": ("lingen show ball.mp4", "lingen show ball.mp4 --sheet sheet.png"),
    "gallery": ("lingen gallery", "lingen gallery videos -o videos.html"),
    "rerun": ("lingen rerun ball.mp4 -o again.mp4",),
    "resume": ("lingen resume", "lingen resume ball.mp4"),
    "decode": ("lingen decode ball.mp4",),
    "batch": ("lingen batch prompts.txt", "lingen batch jobs.jsonl --output videos --gallery"),
    "check": ("lingen check ball.mp4 --max-drift 5",),
    "verify": ("lingen verify ball.mp4 star.mp4",),
    "train": (
        "lingen train recipe.toml -o runs/mine",
        "lingen train finetune --data my_clips/ --start-from lingen-mini -o runs/mine",
        "lingen train finetune --data prepared/ --start-from lingen-mini -o runs/mine",
        "lingen train finetune-lora --data my_clips/ --start-from lingen-mini -o runs/style",
        "lingen train ablation --model dit-mini --start-from lingen-mini",
        "lingen train lingen-mini --log-to tensorboard",
        "lingen train lingen-mini --dry-run --device-kind h100 --json",
    ),
    "report": ("lingen report runs/mine",),
    "data check": ("lingen data check my_clips/ --sheet clips.png",),
    "data prepare": (
        "lingen data prepare my_clips/ -o prepared/",
        "lingen data prepare my_clips/ -o prepared/ --recipe mine.toml --jobs 8",
        "lingen data prepare my_clips/ -o prepared/ --size 176x96 --size 96x176 --latent-frames 5",
    ),
    "recipes list": ("lingen recipes list",),
    "recipes show": ("lingen recipes show short-clips",),
    "recipes copy": ("lingen recipes copy short-clips -o mine.toml",),
    "convert": ("lingen convert dit-mini --weights runs/dit-mini -o runs/converted",),
    "evaluate": ("lingen evaluate --clips 40 --long-clips 0 -o results.json",),
    "metrics": (
        "lingen metrics ball.mp4 star.mp4",
        "lingen metrics videos/ --json --vbench results/",
        "lingen metrics videos/ --dino dino-vitb16/ --clip clip-vit-base-patch32/",
    ),
    "bench": ("lingen bench --lengths 4,17 --rounds 1",),
    "doctor": ("lingen doctor",),
    "models list": ("lingen models list",),
    "models show": ("lingen models show lingen-mini",),
    "models pull": ("lingen models pull NAME",),
    "models verify": ("lingen models verify", "lingen models verify lingen-mini"),
    "models remove": ("lingen models remove NAME --yes",),
    "plugins list": ("lingen plugins list",),
    "plugins install": ("lingen plugins install ./lingen-plugin-example",),
    "plugins uninstall": ("lingen plugins uninstall example --yes",),
    "story check": ("lingen story check story.toml",),
    "cache list": ("lingen cache list",),
    "cache path": ("lingen cache path",),
    "cache prune": ("lingen cache prune --megabytes 500",),
    "config show": ("lingen config show",),
    "config path": ("lingen config path",),
    "kernels install": ("lingen kernels install --dry-run",),
}
"""Command -> examples of it."""


def examples_of(command: str) -> str:
    """Text below the help of a command."""
    return "\n\n".join(("Examples:", *(f"  {one}" for one in EXAMPLES[command])))
