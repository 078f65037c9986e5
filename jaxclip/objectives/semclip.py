"""SemCLIP (arXiv 2511.16527): contrastive, paraphrase and negation terms in one loss.

Shapes: B batch, D embedding, n projected dimensions. x image, t caption, t⁺ paraphrase, t⁻ negation.

  L_con  = sym(x, t)                         paraphrases and negations never enter this softmax
  L_para = mean(1 − cos(Vᵀt, Vᵀt⁺))
  L_neg  = mean(max(0, cos(Vᵀt, Vᵀt⁻)))
  L      = (α·L_con + β·L_para + γ·L_neg) / (α + β + γ)

V [D, n] has random orthonormal columns, the same for all texts. It acts in the two text terms only: never on images,
never at inference.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxclip.objectives.common import cosine, normalise, symmetric_cross_entropy
from jaxclip.objectives.objective import Objective


@functools.cache
def random_orthonormal(embed_dim: int, columns: int, seed: int) -> np.ndarray:
    """A [D, n] matrix with orthonormal columns, uniformly distributed, float32.

    Raises:
      ValueError: more columns than dimensions.
    """
    if columns > embed_dim:
        raise ValueError(f"semclip: n = {columns} projected dimensions of an embedding that has {embed_dim}")
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((embed_dim, columns)))
    # The signs of R's diagonal are the only freedom of QR; fixing them makes the distribution uniform.
    return (q * np.sign(np.diagonal(r))).astype(np.float32)


def semclip(
    alpha: float = 1.0,
    beta: float = 1.0,
    gamma: float = 1.0,
    n: int | None = 2,
    learnable: bool = False,
    normalize: bool = True,
    seed: int = 0,
) -> Objective:
    """SemCLIP's loss.

    Args:
      alpha, beta, gamma: weights of the contrastive, paraphrase and negation terms. The paper's named runs: baseline
        (β = γ = 0), paraphrase-only (γ = 0), negation-only (β = 0), semclip (all 1).
      n: projected dimensions; None leaves the projection out (V = identity).
      learnable: V is a parameter that starts at the random projection.
      normalize: L2-normalise the embeddings of the contrastive term, as the paper says; the released code does not.
      seed: of the random projection.

    Raises:
      ValueError: n < 2 (the cosine of two scalars is ±1 and has no gradient), a negative weight, no weight at all, or
        a learnable projection without a projection.
    """
    if n is not None and n < 2:
        raise ValueError(f"semclip: n must be at least 2 (the cosine of two scalars has no gradient), found {n}")
    if min(alpha, beta, gamma) < 0 or alpha + beta + gamma == 0:
        raise ValueError(f"semclip: weights must be >= 0 and not all 0, found {alpha}, {beta}, {gamma}")
    if learnable and n is None:
        raise ValueError("semclip: learnable=True needs a projection, found n=None")

    def init(embed_dim):
        return {"projection": jnp.asarray(random_orthonormal(embed_dim, n, seed))} if learnable else {}

    def function(embeddings, contrast, params):
        image, caption = embeddings["image"], embeddings["caption"]

        def project(x):
            if n is None:
                return x
            V = params.get("projection", random_orthonormal(x.shape[-1], n, seed))
            return jnp.matmul(x, V, precision=jax.lax.Precision.HIGHEST)  # see `retrieval_cross_entropy`

        x, t = (normalise(image), normalise(caption)) if normalize else (image, caption)
        parts = {"contrastive": symmetric_cross_entropy(x, t, contrast)}
        if beta:
            parts["paraphrase"] = jnp.mean(1.0 - cosine(project(caption), project(embeddings["paraphrase"])))
        if gamma:
            cosines = cosine(project(caption), project(embeddings["negation"]))
            parts["negation"] = jnp.mean(jnp.maximum(0.0, cosines))
        weights = {"contrastive": alpha, "paraphrase": beta, "negation": gamma}
        loss = sum(weights[name] * value for name, value in parts.items()) / (alpha + beta + gamma)
        return loss, parts

    roles = ("caption", *(["paraphrase"] if beta else []), *(["negation"] if gamma else []))
    return Objective("semclip", roles, function, init)
