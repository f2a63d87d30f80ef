"""The 3D vision transformer of the released v2 files, with the state-dict keys of MONAI's ``ViT``, without MONAI.

Protocol 3.1: 96^3 input, 216 patches of 16^3, hidden 768, 12 layers, 12 heads, no classification token. MONAI is the
oracle of its tests. Dosovitskiy et al. 2021, "An image is worth 16x16 words".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 16  # voxels a side
TOKENS = 6**3  # of a 96^3 input
LAYERS = 12
HEADS = 12
HIDDEN = 768


class PatchEmbedding(nn.Module):
    """One linear map of each patch plus its position: (B, 1, 96, 96, 96) -> (B, 216, hidden)."""

    def __init__(self, hidden: int):
        super().__init__()
        self.patch_embeddings = nn.Conv3d(1, hidden, PATCH, stride=PATCH)
        self.position_embeddings = nn.Parameter(torch.zeros(1, TOKENS, hidden))
        nn.init.trunc_normal_(self.position_embeddings, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embeddings(x)  # (B, hidden, 6, 6, 6)
        return x.flatten(2).transpose(1, 2) + self.position_embeddings


class Attention(nn.Module):
    """Self-attention with 12 heads: (B, tokens, hidden) -> (B, tokens, hidden)."""

    def __init__(self, hidden: int):
        super().__init__()
        self.qkv = nn.Linear(hidden, 3 * hidden, bias=False)
        self.out_proj = nn.Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, hidden = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, HEADS, hidden // HEADS)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, tokens, hidden / heads)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.out_proj(mixed.transpose(1, 2).reshape(batch, tokens, hidden))


class Mlp(nn.Module):
    """Linear, GELU, linear: (B, tokens, hidden) -> (B, tokens, hidden)."""

    def __init__(self, hidden: int):
        super().__init__()
        self.linear1 = nn.Linear(hidden, 4 * hidden)
        self.linear2 = nn.Linear(4 * hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(F.gelu(self.linear1(x)))


class Block(nn.Module):
    """Attention and MLP, each behind a layer norm and beside a shortcut: (B, tokens, hidden) unchanged in shape."""

    def __init__(self, hidden: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(hidden)
        self.attn = Attention(hidden)
        self.norm2 = nn.LayerNorm(hidden)
        self.mlp = Mlp(hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ViT(nn.Module):
    """Transformer encoder: (B, 1, 96, 96, 96) -> (B, embedding_size).

    Parameters
    ----------
    width : factor on the 768 hidden units; 137 state keys at any width.
    embedding : ``"token0"``, what upstream reads as a class token although it is the patch in the corner (D-09), or
        ``"token_mean"``.
    """

    def __init__(self, width: float = 1.0, embedding: str = "token0"):
        super().__init__()
        if embedding not in ("token0", "token_mean"):
            raise ValueError(f"unknown embedding '{embedding}'; known: token0, token_mean")
        self.embedding = embedding
        self.embedding_size = int(HIDDEN * width)
        self.patch_embedding = PatchEmbedding(self.embedding_size)
        self.blocks = nn.ModuleList(Block(self.embedding_size) for _ in range(LAYERS))
        self.norm = nn.LayerNorm(self.embedding_size)

    def tokens(self, x: Tensor) -> Tensor:
        """The last hidden state, (B, 216, embedding_size); token 36 i + 6 j + k is the patch (i, j, k)."""
        return self.states(x, ())[1]

    def states(self, x: Tensor, depths: tuple[int, ...]) -> tuple[list[Tensor], Tensor]:
        """What some blocks give, counted from 0, not normalized, and the last hidden state; each (B, 216, hidden)."""
        x = self.patch_embedding(x)
        found = []
        for depth, block in enumerate(self.blocks):
            x = block(x)
            if depth in depths:
                found.append(x)
        return found, self.norm(x)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.tokens(x)
        return tokens[:, 0] if self.embedding == "token0" else tokens.mean(dim=1)
