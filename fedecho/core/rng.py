"""Named random streams: every draw comes from a generator keyed by the run's seed, a role and an identity.

Two methods that share a seed share partition, schedule, initial weights and batch order, because none of those roles
mentions the method. No stream depends on how many numbers another one has drawn, so execution order cannot matter.
"""

from __future__ import annotations

import hashlib

import numpy as np


def seed_sequence(seed: int, role: str, *identity: int) -> np.random.SeedSequence:
    """Return the seed sequence of one role, e.g. `seed_sequence(0, "batches", client, job)`.

    The role enters through its SHA-256, so streams of different roles, seeds or identities never coincide the way
    `seed + client` does. `seed` and each part of `identity` are integers >= 0.
    """
    role_words = np.frombuffer(hashlib.sha256(role.encode()).digest()[:16], dtype="<u4")
    return np.random.SeedSequence(entropy=seed, spawn_key=(*map(int, role_words), *identity))


def stream(seed: int, role: str, *identity: int) -> np.random.Generator:
    """Return the NumPy generator of one role and identity (see `seed_sequence`)."""
    return np.random.Generator(np.random.PCG64(seed_sequence(seed, role, *identity)))


def torch_seed(seed: int, role: str, *identity: int) -> int:
    """Return a 63-bit seed for torch's generator, from the same family of streams."""
    return int(seed_sequence(seed, role, *identity).generate_state(1, np.uint64)[0] >> np.uint64(1))
