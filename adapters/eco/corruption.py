"""Corruptions of prompt embeddings: the table of ECO (arXiv 2406.07933), and two of ours.

For the m selected tokens with embeddings e (m, d), strength σ and k dimensions:

    rand_noise_first_n, _rand_n, _top_k   e[:, K] + σ·z,  z ~ N(0, 1)
    set_rand_noise_first_n                e[:, K] = σ·z
    zero_out_first_n, _top_k              e[:, K] = 0
    flip_sign_first_n, _top_k             e[:, K] = −e[:, K]
    sub_value_first_n, _top_k             e[:, K] − σ   (top: the k largest signed)
    add_value_first_n, _least_k           e[:, K] + σ   (least: the k smallest signed)
    shuffle, reverse_order                the tokens in another order
    fixed_noise                           e + σ·r·z/‖z‖,  r the median ‖e‖ of the model's table
    blend                                 (1 − σ)·e + σ·e',  e' the embedding of a stand-in token

Departures. The published noise is drawn afresh on every call, so that best-of-k sampling averages
it away; ours is a keyed function of (request's key, token): the same prompt always meets the same
corruption. `fixed_noise` has a fixed length in units of the model's own embeddings, so that one
strength means the same for every model. `blend` moves towards tokens of names that nobody has, for
fluent ignorance in place of garble.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from adapters.base import Floats


@dataclass(frozen=True, slots=True)
class Material:
    """What a corruption works on: `embeds` (m, d), `noise` (m, d) ~ N(0, 1), `standins` (m, d), `radius` median ‖e‖."""

    embeds: Floats
    noise: Floats
    standins: Floats
    radius: float
    order: np.random.Generator


def _first(x: Floats, k: int) -> NDArray[np.bool_]:
    mask = np.zeros(x.shape, bool)
    mask[:, :k] = True
    return mask


def _top(values: Floats, k: int) -> NDArray[np.bool_]:
    """True at the k largest values of each row."""
    mask = np.zeros(values.shape, bool)
    if k > 0:
        np.put_along_axis(mask, np.argpartition(values, -k, axis=1)[:, -k:], True, axis=1)
    return mask


def _rand(m: Material, k: int) -> NDArray[np.bool_]:
    mask = np.zeros(m.embeds.shape, bool)
    mask[:, m.order.permutation(m.embeds.shape[1])[:k]] = True
    return mask


def _fixed_noise(m: Material, k: int, s: float) -> NDArray[Any]:
    length: Floats = np.linalg.norm(m.noise, axis=1, keepdims=True)
    return m.embeds + s * m.radius * m.noise / length


CORRUPTIONS: Mapping[str, Callable[[Material, int, float], NDArray[Any]]] = {
    "rand_noise_first_n": lambda m, k, s: m.embeds + s * m.noise * _first(m.embeds, k),
    "rand_noise_rand_n": lambda m, k, s: m.embeds + s * m.noise * _rand(m, k),
    "rand_noise_top_k": lambda m, k, s: m.embeds + s * m.noise * _top(abs(m.embeds), k),
    "set_rand_noise_first_n": lambda m, k, s: np.where(_first(m.embeds, k), s * m.noise, m.embeds),
    "zero_out_first_n": lambda m, k, s: np.where(_first(m.embeds, k), 0.0, m.embeds),
    "zero_out_top_k": lambda m, k, s: np.where(_top(abs(m.embeds), k), 0.0, m.embeds),
    "flip_sign_first_n": lambda m, k, s: np.where(_first(m.embeds, k), -m.embeds, m.embeds),
    "flip_sign_top_k": lambda m, k, s: np.where(_top(abs(m.embeds), k), -m.embeds, m.embeds),
    "sub_value_first_n": lambda m, k, s: m.embeds - s * _first(m.embeds, k),
    "sub_value_top_k": lambda m, k, s: m.embeds - s * _top(m.embeds, k),
    "add_value_first_n": lambda m, k, s: m.embeds + s * _first(m.embeds, k),
    "add_value_least_k": lambda m, k, s: m.embeds + s * _top(-m.embeds, k),
    "shuffle": lambda m, k, s: m.embeds[m.order.permutation(len(m.embeds))],
    "reverse_order": lambda m, k, s: m.embeds[::-1],
    "fixed_noise": _fixed_noise,
    "blend": lambda m, k, s: (1.0 - s) * m.embeds + s * m.standins,
}


@dataclass(frozen=True, slots=True)
class Corruption:
    """One corruption with its settings, as an artifact stores it.

    `share` is the part of the d dimensions that is changed, where the corruption has a k; `key` (16
    bytes) makes its noise this request's own.
    """

    name: str
    strength: float
    key: bytes = field(repr=False)
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in CORRUPTIONS:
            raise ValueError(f"no corruption is called {self.name}")

    def apply(self, embeds: Floats, token_ids: Sequence[int], standins: Floats, radius: float) -> Floats:
        """Corrupts the selected tokens of a prompt.

        Args:
            embeds: (m, d), the clean embeddings of the selected tokens.
            token_ids: (m,), which key the noise.
            standins: (p, d), embeddings to move towards; each token has its own.
            radius: median ‖e‖ of the model's table.

        Returns:
            (m, d) float32.
        """
        if not len(embeds):
            return embeds
        width = embeds.shape[1]
        draws = [self._draw(token) for token in token_ids]
        material = Material(
            embeds=embeds,
            noise=np.stack([rng.standard_normal(width, np.float32) for rng in draws]),
            standins=np.stack([standins[rng.integers(len(standins))] for rng in draws]),
            radius=radius,
            order=self._draw(-1),
        )
        k = max(1, round(self.share * width))
        return np.asarray(CORRUPTIONS[self.name](material, k, self.strength), np.float32)

    def _draw(self, token: int) -> np.random.Generator:
        """A generator that is a function of key and token alone."""
        seed = blake2b(token.to_bytes(8, "little", signed=True), key=self.key, digest_size=16).digest()
        return np.random.Generator(np.random.Philox(int.from_bytes(seed, "little")))

    def manifest(self) -> dict[str, Any]:
        """As plain JSON; `from_manifest` is its inverse."""
        return {"corruption": self.name, "strength": self.strength, "share": self.share, "key": self.key.hex()}

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Self:
        """Raises KeyError or ValueError when the manifest is not one of ours."""
        return cls(
            str(manifest["corruption"]),
            float(manifest["strength"]),
            bytes.fromhex(manifest["key"]),
            float(manifest["share"]),
        )
