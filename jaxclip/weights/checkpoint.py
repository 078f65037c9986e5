"""What makes a CLIP: the four things that every format describes in its own way."""

import dataclasses
from collections.abc import Mapping

import jax
import numpy as np

from jaxclip.data.preprocessing import Preprocessing
from jaxclip.data.tokenizer import Tokenizer
from jaxclip.model import ModelConfig
from jaxclip.weights.tensors import LazyTensor


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """A CLIP. `params` is flat: path → array, or tensor still in its file."""

    config: ModelConfig
    params: Mapping[str, jax.Array | np.ndarray | LazyTensor]
    tokenizer: Tokenizer
    preprocessing: Preprocessing
