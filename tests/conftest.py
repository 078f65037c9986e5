"""Fixtures of the whole suite: a tiny CLIP, its parameters and its tokenizer. Tests run on CPU."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Many tests start commands that compile the same programs; the first one keeps them for the others.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxclip-programs-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

import functools
import logging

import jax
import numpy as np
import pytest

from jaxclip.data.tokenizer import Tokenizer, train_tokenizer
from jaxclip.model import ModelConfig, TextConfig, VisionConfig, init_params
from jaxclip.training.trainable import FlatParams, flatten

# The suite's time is that of compiling many small programs.
jax.config.update("jax_disable_most_optimizations", True)
logging.getLogger("absl").setLevel(logging.ERROR)


@pytest.fixture(scope="session")
def tiny_config() -> ModelConfig:
    """Two towers of different depth and of different numbers of heads, so that a mix-up shows."""
    return ModelConfig(
        embed_dim=16,
        vision=VisionConfig(image_size=16, patch_size=4, width=32, layers=2, heads=2),
        text=TextConfig(context_length=24, vocabulary_size=514, width=32, layers=3, heads=4),
    )


@pytest.fixture(scope="session")
def tiny_params(tiny_config) -> FlatParams:
    """Flat parameters, float32 NumPy, with noise on every leaf: as initialised, biases are 0 and scales 1."""
    generator = np.random.default_rng(0)
    shapes = flatten(jax.eval_shape(functools.partial(init_params, tiny_config), jax.random.key(0)))
    means = {path: 1.0 if path.endswith("/scale") else 0.0 for path in shapes} | {"logit_scale": 2.6}
    noise = {path: 0.15 * generator.standard_normal(leaf.shape) for path, leaf in shapes.items()}
    return {path: (means[path] + noise[path]).astype(np.float32) for path in shapes}


@pytest.fixture(scope="session")
def tiny_tokenizer(tiny_config) -> Tokenizer:
    """Bytes only: 512 of them and the two special tokens."""
    return train_tokenizer([], tiny_config.text.vocabulary_size, tiny_config.text.context_length)
