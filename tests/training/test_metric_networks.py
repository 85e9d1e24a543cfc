"""Metrics that compare features: by hand, and with tiny random networks in real file formats."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lingen_training.metrics.consistency_metrics import FeatureMetrics
from lingen_training.metrics.feature_networks import (
    ClipEncoder,
    DinoEncoder,
    MissingTransformersError,
    NetworkError,
    VideoEncoder,
)
from lingen_training.metrics.frechet import ClipFeatures
from lingen_training.metrics.score_video import Networks, UnmeasurableError, score_video
from lingen_training.metrics.seen_frame import SeenFrame
from tests.training.tiny_vision import SIDE, tiny_clip, tiny_dino


class Angles:
    """Features that the pixels say: the level is the angle in degrees."""

    def prepare(self, image: Tensor) -> Tensor:
        return image[..., :1, :1]

    def features(self, images: Tensor) -> Tensor:
        angles = torch.deg2rad(images[:, 0, 0, 0].double())
        return torch.stack((angles.cos(), angles.sin()), -1)


def seen(metric: Any, *levels: int) -> Any:
    for index, level in enumerate(levels):
        metric.see(SeenFrame(index, np.full((4, 4, 3), level, np.uint8)))
    return metric


def cos(*degrees: float) -> float:
    """Mean of cosines, none below 0."""
    return float(np.cos(np.deg2rad(degrees)).clip(0).mean())


def test_consistency_is_vbenchs_formula() -> None:
    metric = seen(FeatureMetrics("subject", Angles(), 0), 0, 60, 150)
    # against the first: 60 and 150 (below 0 counts as 0); against the one before: 60 and 90
    assert metric.clip_scores([range(3)]) == {
        "subject_consistency": [pytest.approx(((0.5 + 0.5) / 2 + 0) / 2)]
    }
    assert metric.video_scores(8) == {"subject_consistency_across_clips": None}


@pytest.mark.parametrize("frames", [40, 4])
def test_consistency_inside_clips_and_across_them(frames: int) -> None:
    """More frames than go through the network at once, and fewer."""
    levels = [0, 10, 30, 30][:frames] if frames == 4 else [*range(40)]
    length = 3 if frames == 4 else 16
    metric = seen(FeatureMetrics("background", Angles(), length), *levels)
    if frames == 4:
        clips = [range(3), range(1, 4)]
        inside = [
            (cos(10, 10) + cos(30, 20)) / 2,
            (cos(20, 20) + cos(20, 0)) / 2,
        ]
        across = cos(10, 10)
    else:
        clips = [range(16), range(16, 32), range(24, 40)]
        one = float(np.mean([(cos(step) + cos(1)) / 2 for step in range(1, 16)]))
        inside, across = [one] * 3, (cos(16, 16) + cos(24, 8)) / 2
    assert metric.clip_scores(clips) == {"background_consistency": pytest.approx(inside)}
    found = metric.video_scores(8)
    assert found == {"background_consistency_across_clips": pytest.approx(across)}


def test_clip_score_is_a_hundred_times_the_cosine() -> None:
    prompt = torch.tensor([1.0, 0], dtype=torch.double)
    metric = FeatureMetrics("background", Angles(), 2, consistency=False, prompt=prompt)
    found = seen(metric, 0, 60, 120, 60).clip_scores([range(2), range(2, 4)])
    assert found == {"clip_score": pytest.approx([75, 25])}
    assert metric.video_scores(8) == {}


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dino(tmp_path_factory.mktemp("dino"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip(tmp_path_factory.mktemp("clip"))


def frames(count: int, size: tuple[int, int] = (SIDE, SIDE), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def test_dino_features_are_those_of_the_class_token(dino: Path) -> None:
    from transformers import ViTModel

    encoder = DinoEncoder(dino)
    (image,) = frames(1)
    prepared = encoder.prepare(SeenFrame(0, image).tensor)
    by_hand = (image[3, 5] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(prepared[0, :, 3, 5], by_hand, rtol=1e-5)
    network = ViTModel.from_pretrained(dino, add_pooling_layer=False).eval()
    with torch.inference_mode():
        expected = F.normalize(network(prepared).last_hidden_state[:, 0], dim=-1)
    torch.testing.assert_close(encoder.features(prepared), expected)


def test_frames_keep_their_proportions_for_dino_and_are_cut_for_clip(
    dino: Path, clip: Path
) -> None:
    (image,) = frames(1, (40, 100))
    one, other = DinoEncoder(dino), ClipEncoder(clip)
    wide = one.prepare(SeenFrame(0, image).tensor)
    assert wide.shape == (1, 3, SIDE, 80)
    assert one.features(wide).shape == (1, 16)
    assert other.prepare(SeenFrame(0, image).tensor).shape == (1, 3, SIDE, SIDE)
    stripes = np.zeros((SIDE, 64, 3), np.uint8)
    stripes[:, 16:48] = 255  # the square in the middle
    mean, deviation = np.array([0.48145466, 0.4578275, 0.40821073]), 0.26862954
    cut = other.prepare(SeenFrame(0, stripes).tensor)
    np.testing.assert_allclose(cut[0, 0], (1 - mean[0]) / deviation, rtol=1e-5)


def test_scores_with_dino_and_clip(dino: Path, clip: Path) -> None:
    from transformers import CLIPModel

    networks = Networks(DinoEncoder(dino), ClipEncoder(clip))
    asked = ["subject_consistency", "background_consistency", "clip_score"]
    pixels = frames(5)
    found = score_video(iter(pixels), 8, asked, networks=networks, prompt="a red ball")

    def consistency(features: np.ndarray) -> float:
        pairs = [(features[k] @ features[0], features[k] @ features[k - 1]) for k in range(1, 5)]
        return float(np.mean([np.clip(pair, 0, None).mean() for pair in pairs]))

    images = [SeenFrame(0, one).tensor for one in pixels]
    assert networks.dino is not None and networks.clip is not None
    by_dino = networks.dino.features(torch.cat([networks.dino.prepare(one) for one in images]))
    prepared = torch.cat([networks.clip.prepare(one) for one in images])
    network = CLIPModel.from_pretrained(clip).eval()
    with torch.inference_mode():
        by_clip = F.normalize(network.get_image_features(prepared).pooler_output, dim=-1)
        ids = torch.tensor([[0, 2, 3, 4, 1]])
        words = F.normalize(network.get_text_features(ids).pooler_output, dim=-1)
    expected = {
        "subject_consistency": consistency(by_dino.numpy()),
        "background_consistency": consistency(by_clip.numpy()),
        "clip_score": float(100 * (by_clip @ words[0]).clamp(min=0).mean()),
    }
    assert found.scores == pytest.approx(expected, rel=1e-4)
    assert expected["clip_score"] > 0
    frozen = score_video(iter(pixels[:1].repeat(5, 0)), 8, asked[:2], networks=networks)
    assert frozen.scores == pytest.approx(dict.fromkeys(asked[:2], 1.0), abs=1e-5)


def test_a_long_prompt_is_cut_to_what_clip_reads(clip: Path) -> None:
    encoder = ClipEncoder(clip)
    long = encoder.text_features("a red ball " * 40)
    torch.testing.assert_close(long, encoder.text_features("a red ball " * 2))


def test_folders_that_are_no_network(dino: Path, clip: Path, tmp_path: Path) -> None:
    import shutil

    from safetensors.torch import load_file, save_file

    with pytest.raises(NetworkError, match=r"no config\.json"):
        DinoEncoder(tmp_path)
    with pytest.raises(NetworkError, match="not CLIP"):
        ClipEncoder(dino)
    with pytest.raises(NetworkError, match="not DINO"):
        DinoEncoder(clip)
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    shutil.copy(dino / "config.json", pickled)
    (pickled / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(NetworkError, match=r"no \.safetensors"):
        DinoEncoder(pickled)
    (pickled / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(NetworkError, match="no network can be read"):
        DinoEncoder(pickled)
    tensors = load_file(dino / "model.safetensors")
    del tensors["layernorm.weight"]
    save_file(tensors, pickled / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(NetworkError, match=r"lack 1 tensors, such as layernorm\.weight"):
        DinoEncoder(pickled)
    wordless = tmp_path / "wordless"
    wordless.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(clip / name, wordless)
    with pytest.raises(NetworkError, match="no tokenizer"):
        ClipEncoder(wordless)
    assert ClipEncoder(wordless, texts=False).features(torch.zeros(1, 3, SIDE, SIDE)).shape == (
        1,
        8,
    )


def test_without_transformers(dino: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lingen_training.metrics import feature_networks

    monkeypatch.setattr(feature_networks, "find_spec", lambda name: None)
    with pytest.raises(MissingTransformersError):
        DinoEncoder(dino)


class Means(torch.nn.Module):
    """The mean of each color, as features."""

    def forward(self, clip: Tensor) -> Tensor:
        return clip.mean((2, 3, 4))


class Flagged(torch.nn.Module):
    """As the I3D files that are about: features only where they are asked for."""

    def forward(
        self,
        x: Tensor,
        rescale: bool = True,
        resize: bool = True,
        return_features: bool = False,
    ) -> Tensor:
        if rescale or resize or not return_features:
            return x
        return x.mean((2, 3, 4))


def saved(module: torch.nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted: Any = torch.jit.script(module)
        scripted.save(str(path))
    return path


@pytest.mark.parametrize("kind", [Means, Flagged])
def test_features_of_clips(kind: type[torch.nn.Module], tmp_path: Path) -> None:
    features = ClipFeatures(VideoEncoder(saved(kind(), tmp_path / "net.pt"), 2), 2)
    levels = [0, 51, 255, 255, 102]  # the last one fills no clip
    seen(features, *levels)
    seen(features, 0, 0)
    np.testing.assert_allclose(features.features[:, 0], [-0.8, 1, -1], atol=1e-6)
    assert features.features.shape == (3, 3)


def test_a_video_that_breaks_off_leaves_no_clips(tmp_path: Path) -> None:
    features = ClipFeatures(VideoEncoder(saved(Means(), tmp_path / "net.pt"), 1), 1)
    score_video(iter(frames(2)), 8, [], fvd=features)
    with pytest.raises(UnmeasurableError):
        score_video(iter(frames(1)), 8, [], fvd=features)
    assert len(features.features) == 2


def test_files_that_are_no_network_for_clips(tmp_path: Path) -> None:
    text = tmp_path / "net.pt"
    text.write_text("hello")
    with pytest.raises(NetworkError, match="not a TorchScript file"):
        VideoEncoder(text, 16)
    with pytest.raises(NetworkError, match="takes no clip of 1x3x16x224x224"):
        VideoEncoder(saved(torch.nn.Linear(3, 4), text), 16)
    with pytest.raises(NetworkError, match="one row of features"):
        VideoEncoder(saved(torch.nn.ReLU(), text), 16)
