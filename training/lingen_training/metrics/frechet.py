"""Fréchet video distance: how far the features of two sets of clips are apart (FVD)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lingen_training.metrics.feature_networks import VideoEncoder
from lingen_training.metrics.frame_statistics import Array
from lingen_training.metrics.seen_frame import SeenFrame

CLIP_FRAMES = 16


class ClipFeatures:
    """Features of the clips of one video after another: `length` frames each, without overlap."""

    def __init__(self, encoder: VideoEncoder, length: int = CLIP_FRAMES) -> None:
        self._encoder, self._length = encoder, length
        self._waiting: list[Tensor] = []
        self._features: list[Array] = []

    def see(self, frame: SeenFrame) -> None:
        """Take in a frame; number 0 begins another video."""
        if frame.index == 0:
            self._waiting.clear()
        self._waiting.append(self._encoder.prepare(frame.tensor))
        if len(self._waiting) == self._length:
            self._features.append(self._encoder.features(torch.stack(self._waiting, 1)).numpy())
            self._waiting.clear()

    @property
    def features(self) -> Array:
        """(clips, D), float64; (0, 0) without clips."""
        return np.stack(self._features) if self._features else np.zeros((0, 0))

    def drop_after(self, count: int) -> None:
        """Keep the features of the first `count` clips: the video of the others broke off."""
        del self._features[count:]


def frechet_distance_of(features: Array, reference: Array) -> float | None:
    """Fréchet distance of two sets of features (N, D), None where one has fewer than two rows."""
    if min(len(features), len(reference)) < 2:
        return None
    moments = [(one.mean(0), np.atleast_2d(np.cov(one.T))) for one in (features, reference)]
    (mean, covariance), (other, other_covariance) = moments
    return frechet_distance(mean, covariance, other, other_covariance)


def frechet_distance(
    mean: Array, covariance: Array, other: Array, other_covariance: Array
) -> float:
    """Squared Fréchet distance of two Gaussians with means (D,) and covariances (D, D):
    |m - n|^2 + tr(A + B - 2 (A^1/2 B A^1/2)^1/2)."""
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    both = np.linalg.eigvalsh(root @ other_covariance @ root)
    traces = np.trace(covariance) + np.trace(other_covariance) - 2 * np.sqrt(both.clip(0)).sum()
    return float(np.square(mean - other).sum() + max(0.0, traces))
