"""Losses in plain NumPy float64, row by row, and derivatives by central differences: the tests' reference.

Shapes: B batch, D embedding.
"""

import numpy as np


def random_embeddings(roles, batch=4, width=6, seed=0):
    """float64 [B, D] for each role, of unequal lengths, so that normalisation matters."""
    generator = np.random.default_rng(seed)
    return {role: generator.standard_normal((batch, width)) * generator.uniform(0.5, 2, (batch, 1)) for role in roles}


def unit(x):
    """Rows of length 1; a row of zeros stays what it is."""
    lengths = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / np.where(lengths == 0, 1, lengths)


def cosine(x, y):
    return np.array([a @ b for a, b in zip(unit(x), unit(y), strict=True)])


def cross_entropy(logits):
    """−log of the softmax's share at the diagonal, averaged over rows."""
    losses = []
    for label, row in enumerate(logits):
        losses.append(np.log(np.sum(np.exp(row - row.max()))) + row.max() - row[label])
    return np.mean(losses)


def symmetric_cross_entropy(image, text, scale):
    logits = np.array([[scale * x @ t for t in text] for x in image])
    return (cross_entropy(logits) + cross_entropy(logits.T)) / 2


def central_differences(function, inputs, step=1e-5):
    """d function / d entry, for every entry of a dict of arrays."""
    gradients = {name: np.zeros_like(values) for name, values in inputs.items()}
    for name, values in inputs.items():
        for place in np.ndindex(values.shape):
            moved = []
            for sign in (1, -1):
                changed = values.copy()
                changed[place] += sign * step
                moved.append(function({**inputs, name: changed}))
            gradients[name][place] = (moved[0] - moved[1]) / (2 * step)
    return gradients
