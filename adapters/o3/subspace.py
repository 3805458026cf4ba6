"""What earlier LoRAs read, and what is left to read: hard orthogonality between the A of different requests.

A LoRA adds s·BAx to Wx: all it reads of x lies in the row space of A. O3 (arXiv 2407.10223) keeps a new A_t from
what earlier ones read by a penalty, λ Σ_{k<t} ‖A_k A_tᵀ‖²_F for each module. Here it is held there: with Q an
orthonormal basis of the earlier row spaces, after every step

    A_t ← A_t (I − Q Qᵀ)

so that two requests that one prompt touches are read from different features, whatever either learnt. A module
with d_in inputs has room for d_in / r requests. Adapters are worn together only where one prompt touches both, so
where the room is spent it is kept for those that are likeliest to be: A_t stays clear of the nearest requests, as
many as leave half of the inputs free, and how many others there are stands in the artifact.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

_FREE = 0.5  # of a module's inputs: below it, training has too little to read

Downs = Mapping[str, Tensor]  # A (r, in) of each module of a LoRA, by name


@dataclass(frozen=True, slots=True, eq=False)
class Subspace:
    """The row spaces of some LoRAs: for each module Q (in, k), orthonormal columns.

    `held` LoRAs are in it, the nearest.
    """

    bases: Mapping[str, Tensor] = field(repr=False)
    held: int = 0

    @classmethod
    def of(cls, earlier: Iterable[Downs], free: float = _FREE) -> Self:
        """Of as many as leave the share `free` of every module's inputs; `earlier` has the nearest first, and no more
        of it is read than that."""
        taken: list[Downs] = []
        used: dict[str, int] = {}
        for downs in earlier:
            wanted = {name: used.get(name, 0) + len(down) for name, down in downs.items()}
            if any(wanted[name] > (1 - free) * down.shape[1] for name, down in downs.items()):
                break
            taken.append(downs)
            used |= wanted
        names = dict.fromkeys(name for downs in taken for name in downs)
        bases = {name: _basis([downs[name] for downs in taken if name in downs]) for name in names}
        return cls(bases, len(taken))

    def project(self, name: str, down: Tensor) -> Tensor:
        """A (r, in) of a module without what lies in the subspace."""
        basis = self.bases.get(name)
        return down if basis is None else down - (down @ basis) @ basis.T

    def overlap(self, downs: Downs) -> float:
        """The share of a LoRA's A that lies in the subspace, in squared Frobenius norm, the greatest of any module."""
        shares = [
            float((down @ self.bases[name]).square().sum() / down.square().sum().clamp(min=1e-30))
            for name, down in downs.items()
            if name in self.bases
        ]
        return max(shares, default=0.0)

    def capacity(self, downs: Downs) -> dict[str, dict[str, int]]:
        """For each module of a LoRA: its `inputs`, and how many of them this subspace and the LoRA have `used`."""
        return {
            name: {"inputs": down.shape[1], "used": len(down) + self.bases.get(name, down.T[:, :0]).shape[1]}
            for name, down in downs.items()
        }


def _basis(downs: Sequence[Tensor]) -> Tensor:
    """Orthonormal columns (in, k) that span the rows of all; in double, since it is made once."""
    stacked = torch.cat([down.double() for down in downs])
    left, values, _ = torch.linalg.svd(stacked.T, full_matrices=False)
    rank = int((values > values.max().clamp(min=1e-30) * 1e-6).sum())
    basis: Tensor = left[:, :rank].float()
    return basis
