"""O3's detector: how far a prompt is from one request's forget texts, and how much of its adapter to load.

Paper: "On Large Language Model Continual Unlearning" (O3, arXiv 2407.10223), one detector per request,
made of forget data alone. For each layer, with z a prompt's feature, μ and Σ of the forget texts x_i:

    m(z) = −log (z − μ)ᵀ Σ⁻¹ (z − μ)      c(z) = max_i cos(z, x_i)      s(z) = mean over layers of (m̂ + ĉ) / 2

where ^ standardises by mean and deviation of the leave-one-out values of the x_i: 0 is a typical forget
text. The weight is 0 below a calibrated score, 1 above another, linear between. Departures:

- Features are scaled to unit length (Mahalanobis++, arXiv 2505.18032): their norm tells a passage from a
  question. RWKU, last layer, recall at 0.5 % false positives: .35 → .87.
- Whatever layers are given; the gateway gives the last alone, which for a sentence encoder is the vector
  that the index has already. The published mean over all layers costs AUROC: RWKU .990 → .872.
- Σ = (1 − ρ)S + ρ (tr S / d) I, ρ by Ledoit-Wolf, since n < d is the rule, and never built: by Woodbury
  zᵀ Σ⁻¹ z ∝ |z|² − kᵀ (K + γI)⁻¹ k, with k the products of z with the centred texts and K their Gram
  matrix, γ = n ρ (tr S / d) / (1 − ρ). The texts that the cosine needs are all that is stored.
- Leave-one-out is exact without refitting: h → b²h / (1 − bh), b = n / (n − 1), h = x_iᵀ (S' + γI)⁻¹ x_i.
- The logarithm, and a plain mean in place of m − 1000 c and a linear one-class SVM over the layers, in
  which c drowns m or m drowns c: AUROC on RWKU .882 as published, .990 here.
- The published weight is two-sided about a midpoint and stepped; here it is monotone. Its zero is set by
  ordinary text, family-wise: `alpha` is shared by all active requests (Bonferroni), the tail beyond the
  nine tenths quantile taken as exponential, which overstates it, scores being bounded. Contrasts, which
  are the forget texts about somebody else, move it up: of the demo world's strangers 42 % → 2 % load
  anything, at .2 → 2.9 % of own prompts that load nothing. It never passes the fifth of the forget texts'
  own scores: where both cannot be had, forgetting wins, and `false_positive` says at what price.

Figures for RWKU are of ten development people, other people's questions as controls, every passage kept;
keeping `LIMIT` of them costs AUROC .990 → .985. `python -m bench.ood` measures.
"""

import io
import json
import math
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guards.base import GuardError
from guards.encoder import Floats

LIMIT = 64  # forget texts kept: 49 KB a layer at d = 384
FEWEST = 4  # forget texts below which a leave-one-out deviation says nothing
ALPHA = 0.01  # share of ordinary prompts on which any of the active requests may load anything
MISS = 0.2  # share of its own texts, each left out, that the zero may reach; of prompts it then misses less

_VERSION = 1
_TAIL = 0.1  # share of the ordinary prompts that make the tail
_NEAR = 0.05  # share of the contrasts that may weigh something
_SPREAD = (0.1, 0.02)  # least deviations of m and c: a few like texts must not put all others out of reach
_TINY = 1e-12

Halves = NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class Head:
    """What a request learned to add to its features (`guards.ood_training`): z + up (down z), per layer.

    Attributes:
        down (L, r, d), up (L, d, r).
    """

    down: Halves = field(repr=False)
    up: Halves = field(repr=False)

    def __call__(self, features: Floats) -> Floats:
        """(m, L, d) unit rows → (m, L, d), not of unit length."""
        low = np.einsum("lrd,mld->mlr", self.down.astype(np.float32), features)
        adapted: Floats = features + np.einsum("ldr,mlr->mld", self.up.astype(np.float32), low)
        return adapted


@dataclass(frozen=True, eq=False)
class Cloud:
    """One layer's forget texts, (n, d) unit rows, as points and as a Gaussian in dual form."""

    rows: Halves = field(repr=False)

    @cached_property
    def _points(self) -> Floats:
        return self.rows.astype(np.float32)

    @cached_property
    def _mean(self) -> Floats:
        mean: Floats = self._points.mean(axis=0)
        return mean

    @cached_property
    def _centred(self) -> Floats:
        return self._points - self._mean

    @cached_property
    def ridge(self) -> float:
        """γ, from Ledoit and Wolf's ρ (2004), of which the Gram matrix holds all terms."""
        n, d = self.rows.shape
        gram = (self._centred @ self._centred.T).astype(np.float64)
        scale = np.trace(gram) / (n * d)
        around = (gram**2).sum() / (n * n * d) - scale**2
        noise = ((np.diag(gram) ** 2).sum() / n - (gram**2).sum() / (n * n)) / (n * d)
        rho = min(max(noise, 0.0) / max(around, _TINY), 0.999)
        return float(max(n * rho * scale / (1 - rho), _TINY))

    @cached_property
    def _dual(self) -> Floats:
        gram = (self._centred @ self._centred.T).astype(np.float64)
        inverse: Floats = np.linalg.inv(gram + self.ridge * np.eye(len(gram))).astype(np.float32)
        return inverse

    def measures(self, features: Floats) -> Floats:
        """m and c of each unit row, (m, 2)."""
        distance = self._squared(features - self._mean)
        return np.stack([-np.log(distance), (features @ self._points.T).max(axis=1)], axis=1)

    def left_out(self) -> Floats:
        """m and c of each forget text by the cloud of the others, (n, 2)."""
        n = len(self.rows)
        more = n / (n - 1)
        own = self._squared(self._centred) / self.ridge
        distance = self.ridge * more**2 * own / np.maximum(1 - more * own, _TINY)
        cosines = self._points @ self._points.T
        np.fill_diagonal(cosines, -1.0)
        return np.stack([-np.log(np.maximum(distance, _TINY)), cosines.max(axis=1)], axis=1)

    def _squared(self, shifted: Floats) -> Floats:
        """γ zᵀ(S' + γI)⁻¹z of each row z, from which μ is taken already."""
        products = shifted @ self._centred.T
        explained = np.einsum("mi,mi->m", products @ self._dual, products)
        squared: Floats = np.maximum(np.einsum("md,md->m", shifted, shifted) - explained, _TINY)
        return squared


@dataclass(frozen=True, slots=True)
class Boundary:
    """Where weight begins. Scores: 0 is a typical forget text.

    Attributes:
        tail: the score that one ordinary prompt in ten exceeds.
        excess: by how much those exceed it, on average.
        near: what nineteen in twenty of the contrasts stay below; the tail where there are none.
        bound: what `MISS` of the forget texts stay below, each left out.
    """

    tail: float
    excess: float
    near: float
    bound: float

    def zero(self, active: int, alpha: float = ALPHA) -> float:
        """The score up to which nothing is loaded, when `active` requests share `alpha`."""
        shared = self.tail + self.excess * math.log(max(1.0, _TAIL * active / alpha))
        return min(max(shared, self.near), self.bound)

    def false_positive(self, active: int, alpha: float = ALPHA) -> float:
        """The share of ordinary prompts that this one request is expected to load something on."""
        return _TAIL * min(1.0, math.exp((self.tail - self.zero(active, alpha)) / self.excess))


@dataclass(frozen=True, eq=False)
class Detector:
    """One request's detector. Immutable; personal data: never logged.

    Attributes:
        encoder: identity of the encoder whose features these are.
        clouds: one for each layer.
        centre, spread: mean and deviation of the leave-one-out m and c of each layer, (2L,).
    """

    encoder: str
    clouds: tuple[Cloud, ...] = field(repr=False)
    centre: Floats = field(repr=False)
    spread: Floats = field(repr=False)
    boundary: Boundary
    head: Head | None = field(default=None, repr=False)

    def measures(self, features: Floats) -> Floats:
        """Standardised m and c for each layer, (m, 2L): what a classifier may weigh by itself.

        Args:
            features: (m, L, d) masked means, of any length; of the layers that the detector was fitted on.

        Raises:
            GuardError: of another shape, or not finite.
        """
        if features.ndim != 3 or features.shape[1:] != (len(self.clouds), self.clouds[0].rows.shape[1]):
            raise GuardError("features: not of the layers that the detector was fitted on")
        seen = _seen(features, self.head)
        found = np.concatenate([cloud.measures(seen[:, i]) for i, cloud in enumerate(self.clouds)], axis=1)
        standard: Floats = (found - self.centre) / self.spread
        return standard

    def scores(self, features: Floats) -> Floats:
        """s of each prompt, (m,); arguments and errors as of `measures`."""
        scores: Floats = self.measures(features).mean(axis=1)
        return scores

    def weight(self, features: Floats, active: int) -> Floats:
        """How much of the adapter each prompt loads, (m,) in [0, 1]: monotone in s, and 0 up to the zero.

        It rises to 1 halfway from there to a typical forget text.

        Args:
            features: as of `measures`.
            active: how many requests the prompt may concern: those whose detectors are asked.
        """
        zero = self.boundary.zero(active)
        weights: Floats = np.clip((self.scores(features) - zero) / (zero / 2 - zero), 0.0, 1.0)
        return weights

    def to_bytes(self) -> bytes:
        """One npz file: forget texts and head in half precision, the rest as JSON."""
        record = {"version": _VERSION, "encoder": self.encoder, "boundary": asdict(self.boundary)}
        packed = np.frombuffer(json.dumps(record).encode(), np.uint8)
        rows, standard = np.stack([cloud.rows for cloud in self.clouds]), np.stack([self.centre, self.spread])
        file = io.BytesIO()
        if self.head is None:
            np.savez(file, record=packed, rows=rows, standard=standard)
        else:
            np.savez(file, record=packed, rows=rows, standard=standard, down=self.head.down, up=self.head.up)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, raw: bytes, encoder: str) -> "Detector":
        """The inverse of `to_bytes`.

        Args:
            encoder: identity of the encoder in use.

        Raises:
            GuardError: damaged, of another version, or of another encoder.
        """
        try:
            with np.load(io.BytesIO(raw), allow_pickle=False) as arrays:
                record: dict[str, Any] = json.loads(arrays["record"].tobytes())
                centre, spread = arrays["standard"]
                found = cls(
                    record["encoder"],
                    tuple(map(Cloud, arrays["rows"])),
                    centre,
                    spread,
                    Boundary(**record["boundary"]),
                    Head(arrays["down"], arrays["up"]) if "up" in arrays else None,
                )
        except Exception as error:  # a damaged file fails in as many ways as there are layers in it
            raise GuardError(f"detector cannot be read: {type(error).__name__}") from None
        if record["version"] != _VERSION:
            raise GuardError(f"detector is of version {record['version']}, not {_VERSION}: fit it again")
        if found.encoder != encoder:
            raise GuardError("detector was fitted with another encoder: fit it again")
        return found


def fit(
    features: Floats,
    ordinary: Floats,
    encoder: str,
    contrasts: Floats | None = None,
    head: Head | None = None,
    limit: int = LIMIT,
) -> Detector:
    """A detector of one request's forget texts; milliseconds.

    Args:
        features: (n, L, d) masked means of the forget texts; of more than `limit` an even selection is kept.
        ordinary: (b, L, d) of prompts that touch nothing, to place the zero.
        encoder: identity of the encoder.
        contrasts: (c, L, d) of the forget texts about somebody else (`guards.contrast`), if there are any.
        head: learned for this request, if any.

    Raises:
        GuardError: fewer than `FEWEST` texts, or features that are not finite.
    """
    if len(features) < FEWEST:
        raise GuardError(f"examples: {FEWEST} texts are needed to fit a detector")
    kept = features[[i * len(features) // limit for i in range(limit)]] if len(features) > limit else features
    clouds = tuple(Cloud(rows) for rows in _seen(kept, head).astype(np.float16).transpose(1, 0, 2))
    own = np.concatenate([cloud.left_out() for cloud in clouds], axis=1)
    least = np.tile(np.array(_SPREAD, np.float32), len(clouds))
    centre, spread = own.mean(axis=0), np.maximum(own.std(axis=0), least)
    draft = Detector(encoder, clouds, centre, spread, Boundary(0.0, 1.0, 0.0, 0.0), head)
    known, tail = ((own - centre) / spread).mean(axis=1), draft.scores(ordinary)
    near = draft.scores(contrasts) if contrasts is not None and len(contrasts) else None
    return replace(draft, boundary=_boundary(known, tail, near))


def _boundary(own: Floats, ordinary: Floats, near: Floats | None) -> Boundary:
    tail = float(np.quantile(ordinary, 1 - _TAIL))
    over = ordinary[ordinary > tail]
    return Boundary(
        tail,
        excess=max(float(over.mean()) - tail, _TINY) if len(over) else _TINY,
        near=tail if near is None else float(np.quantile(near, 1 - _NEAR)),
        bound=min(float(np.quantile(own, MISS)), -_TINY),
    )


def _seen(features: Floats, head: Head | None) -> Floats:
    """Features as the clouds see them: of unit length, adapted by the head if there is one."""
    if not np.isfinite(features).all():
        raise GuardError("the encoder returned no numbers")
    plain = _unit(features)
    return plain if head is None else _unit(head(plain))


def _unit(features: Floats) -> Floats:
    unit: Floats = features / np.maximum(np.linalg.norm(features, axis=-1, keepdims=True), np.float32(_TINY))
    return unit
