"""Forget requests and artifacts at rest: encrypted, versioned, never half-stored.

Before it: the admin API files and moves requests, the worker claims and learns them. After it: the
policy is built from what is active here.
"""

from gateway.registry.artifacts import Artifacts
from gateway.registry.errors import RegistryError
from gateway.registry.evidence import PERSISTENCE, VERIFICATION, Change, Leak, Probe, Rate, Step, Verification
from gateway.registry.matrix import Drift, Matrix
from gateway.registry.policies import PolicyDocument
from gateway.registry.records import AuditEntry, Event, Evidence, ForgetRequest, Page, PolicyVersion
from gateway.registry.spec import Fact, ForgetSpec
from gateway.registry.states import ACTIVE, MOVES, TERMINAL, State
from gateway.registry.store import Registry
from gateway.registry.vault import Vault

__all__ = [
    "ACTIVE",
    "MOVES",
    "PERSISTENCE",
    "TERMINAL",
    "VERIFICATION",
    "Artifacts",
    "AuditEntry",
    "Change",
    "Drift",
    "Event",
    "Evidence",
    "Fact",
    "ForgetRequest",
    "ForgetSpec",
    "Leak",
    "Matrix",
    "Page",
    "PolicyDocument",
    "PolicyVersion",
    "Probe",
    "Rate",
    "Registry",
    "RegistryError",
    "State",
    "Step",
    "Vault",
    "Verification",
]
