"""What weights are known by."""

import hashlib
from collections.abc import Mapping

import numpy as np


def digest_of_params(params: Mapping[str, np.ndarray], *facts: str) -> bytes:
    """SHA-256 of flat parameters (paths, types, shapes and values, in any order), and of facts beside them."""
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(f"{len(fact)} {fact}".encode())
    for path in sorted(params):
        leaf = np.asarray(params[path], order="C")
        digest.update(f"{path} {leaf.dtype} {leaf.shape}".encode())
        digest.update(leaf.data)
    return digest.digest()
