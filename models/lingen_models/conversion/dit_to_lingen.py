"""A diffusion transformer becomes a LinGen: both branches of MATE begin from its attention.

As in LinMU (arXiv 2601.01322; paper.md 5): window attention takes the weights as they are; of the
Mamba branch, C comes from the queries, B from the keys, x from the values, as attention without a
softmax is a state space model without decay (arXiv 2408.15237). What such a start is worth is for
a distillation to show (`lingen_training.stages.distillation`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from lingen_models.network_config import LinGenConfig
from lingen_models.networks.attention import FullAttention, SelfAttention
from lingen_models.networks.block import Block
from lingen_models.networks.denoiser import LinGen
from lingen_models.networks.mamba2 import BidirectionalMamba2
from lingen_models.networks.mate import Mate

_SHARED = (
    "width",
    "depth",
    "head_dim",
    "ffn_ratio",
    "latent_channels",
    "patch",
    "text_dims",
    "position_grid",
)
"""What both networks must have alike: all that is not the mixer."""


@torch.no_grad()
def lingen_of(dit: LinGen, config: LinGenConfig) -> LinGen:
    """A LinGen of `config` with all of `dit` but its mixers, which begin from its attention.

    Raises ValueError, naming the field, where the two differ in more than their mixers.
    """
    if (dit.config.mixer, config.mixer) != ("attention", "mate"):
        raise ValueError(
            f"mixer: from attention to mate, not from {dit.config.mixer} to {config.mixer}"
        )
    for name in _SHARED:
        have, want = getattr(dit.config, name), getattr(config, name)
        if have != want:
            raise ValueError(f"{name}: {want} is wanted, and the weights have {have}")
    made = LinGen(config)
    shared = {name: part for name, part in dit.state_dict().items() if ".mixer." not in name}
    made.load_state_dict(made.state_dict() | shared)
    for old, new in zip(dit.blocks, made.blocks, strict=True):
        assert isinstance(old, Block) and isinstance(old.mixer, FullAttention)
        assert isinstance(new, Block) and isinstance(new.mixer, Mate)
        begin_mate(new.mixer, old.mixer.attention)
    return made


@torch.no_grad()
def begin_mate(mate: Mate, attention: SelfAttention) -> None:
    """Fill `mate` from the attention over the whole clip that it takes the place of."""
    if mate.tesa_branch is not None:
        mate.tesa_branch.attention.load_state_dict(attention.state_dict())
    if mate.mamba_branch is not None:
        q, k, v = attention.qkv.weight.chunk(3)
        begin_mamba(mate.mamba_branch.mamba, q, k, v, attention.out.weight)


@torch.no_grad()
def begin_mamba(mamba: BidirectionalMamba2, q: Tensor, k: Tensor, v: Tensor, out: Tensor) -> None:
    """Fill `mamba` from the weights of an attention, (heads * P, D) each and `out` (D, heads * P).

    Values to x and the output to the output; queries and keys, which heads do not share, to the
    C and B that they do: the best product of rank `state_size` for the sum of all heads.

    Step sizes do not depend on the token at first, and the convolution does nothing.
    """
    width = v.shape[0]
    copies = mamba.inner // width
    if copies * width != mamba.inner:
        raise ValueError(f"expand: {mamba.inner} channels are not a multiple of {width}")
    _, x, B, C, dt = torch.split(
        mamba.in_proj.weight,
        [mamba.inner, mamba.inner, mamba.state_size, mamba.state_size, 2 * mamba.heads],
    )
    x.copy_(v.repeat(copies, 1))
    mamba.out_proj.weight.copy_(out.repeat(1, copies) / copies)
    for part, start in zip((C, B), shared_product(q, k, mamba.state_size), strict=True):
        part.copy_(start)
    dt.zero_()
    conv = mamba.conv1d.weight
    conv.zero_()
    conv[..., conv.shape[-1] // 2] = 1.0
    mamba.conv1d.bias.zero_()


def shared_product(q: Tensor, k: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """(rank, D) C and B for which C^T B is nearest to a multiple of q^T k, of (heads * P, D) each.

    That product of all channels is the sum over the heads of what each compares. Both have the
    size that a new layer would have.
    """
    left, values, right = torch.linalg.svd((q.T @ k).double())
    if rank > values.numel():
        raise ValueError(f"state_size: {rank} is more than the width, {values.numel()}")
    root = values[:rank].sqrt()
    C, B = (left[:, :rank] * root).T, right[:rank] * root[:, None]
    usual = (rank / 3) ** 0.5  # the norm of `rank` rows of nn.Linear
    return (C * (usual / C.norm())).to(q), (B * (usual / B.norm())).to(k)
