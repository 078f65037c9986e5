"""A digest tells apart whatever differs in weights and facts, and nothing else."""

import hashlib

import numpy as np

from jaxclip.digests import digest_of_params

PARAMS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.float32(1)}


def test_it_is_the_hash_of_path_type_shape_and_bytes():
    parts = [b"2 xy", b"a float32 (2, 3)", PARAMS["a"].tobytes(), b"b float32 ()", PARAMS["b"].tobytes()]
    assert digest_of_params(PARAMS, "xy") == hashlib.sha256(b"".join(parts)).digest()


def test_order_and_layout_do_not_count_and_the_bounds_of_facts_do():
    assert digest_of_params(dict(reversed(PARAMS.items()))) == digest_of_params(PARAMS)
    assert digest_of_params(PARAMS | {"a": np.asfortranarray(PARAMS["a"])}) == digest_of_params(PARAMS)
    digests = [digest_of_params(PARAMS, *facts) for facts in ((), ("ab", "c"), ("a", "bc"), ("abc",))]
    digests.append(digest_of_params(PARAMS | {"a": PARAMS["a"].reshape(3, 2)}))
    assert len(set(digests)) == 5
