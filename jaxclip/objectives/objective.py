"""What an objective is: a pure function of embeddings by role, and what it needs."""

import dataclasses
from collections.abc import Callable

import jax

Embeddings = dict[str, jax.Array]
LossAndParts = tuple[jax.Array, dict[str, jax.Array]]


def no_params(embed_dim: int) -> dict[str, jax.Array]:
    """An objective without parameters of its own."""
    del embed_dim
    return {}


@dataclasses.dataclass(frozen=True)
class Objective:
    """A loss over embeddings.

    Attributes:
      name: the name that configs use.
      roles: the texts that must be there, e.g. ("caption", "negation").
      function: (embeddings, scale, params) → (loss, named parts), all scalars float32.
      init: embedding width D → the objective's own trainable parameters ({} for most).
      images: the images that must be there; `image` is the one that the caption describes.
    """

    name: str
    roles: tuple[str, ...]
    function: Callable[[Embeddings, jax.Array, dict[str, jax.Array]], LossAndParts]
    init: Callable[[int], dict[str, jax.Array]] = no_params
    images: tuple[str, ...] = ("image",)

    def __call__(
        self, embeddings: Embeddings, scale: jax.Array, params: dict[str, jax.Array] | None = None
    ) -> LossAndParts:
        """The loss and its parts.

        Args:
          embeddings: role → [B, D], as the towers give them (not normalised); each of `images` and `roles`.
          scale: exp(logit_scale).
          params: what `init` gave; by default just that.

        Raises:
          ValueError: a role is missing.
        """
        missing = [role for role in (*self.images, *self.roles) if role not in embeddings]
        if missing:
            raise ValueError(f"objective {self.name!r} needs the role(s) {missing}; found {sorted(embeddings)}")
        params = self.init(embeddings["image"].shape[-1]) if params is None else params
        return self.function(embeddings, scale, params)
