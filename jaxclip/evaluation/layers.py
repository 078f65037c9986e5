"""Where in the text tower a caption and its negation come apart: the layer analysis of Omni-NegCLIP.

Shapes: n pairs, K states (one before the first layer, one after each), W width.
"""

import numpy as np

from jaxclip.evaluation.scores import Score, bootstrap
from jaxclip.evaluation.similarity import cosine


def layer_similarities(states: np.ndarray, other_states: np.ndarray, *, seed: int = 0) -> list[Score]:
    """Mean cosine of paired end-of-text states, layer by layer (arXiv 2603.29258, motivating analysis).

    Args:
      states: [n, K, W], of captions.
      other_states: [n, K, W], of their negations, paraphrases, ...
      seed: of the bootstrap.

    Returns:
      K scores with 95 % intervals.
    """
    layers = range(states.shape[1])
    return [bootstrap(cosine(states[:, layer], other_states[:, layer]), seed=seed) for layer in layers]
