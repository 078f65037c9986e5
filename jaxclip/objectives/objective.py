"""What an objective is: a pure function of embeddings by role, and what it needs."""

import dataclasses
from collections.abc import Callable

import jax
from jax.sharding import Mesh, PartitionSpec

from jaxclip.objectives.common import Contrast

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
      function: (embeddings, contrast, params) → (loss, named parts), all scalars float32. Each is a mean over the rows
        of the batch, so that over equal shards of the rows it is the mean of the shards' values.
      init: embedding width D → the objective's own trainable parameters ({} for most).
      images: the images that must be there; `image` is the one that the caption describes.
      mesh: where the rows of the batch are split along the axis `data`; None leaves that to the compiler.
      chunk: how many rows of logits a device makes at a time, at less memory and with the same result; None for all.
    """

    name: str
    roles: tuple[str, ...]
    function: Callable[[Embeddings, Contrast, dict[str, jax.Array]], LossAndParts]
    init: Callable[[int], dict[str, jax.Array]] = no_params
    images: tuple[str, ...] = ("image",)
    mesh: Mesh | None = None
    chunk: int | None = None

    def __call__(
        self, embeddings: Embeddings, scale: jax.Array, params: dict[str, jax.Array] | None = None
    ) -> LossAndParts:
        """The loss and its parts.

        With a mesh each device makes the logits of its own rows; only embeddings are gathered, and their gradients are
        reduced and scattered.

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
        if self.mesh is None:
            return self.function(embeddings, Contrast(scale, chunk=self.chunk), params)

        def mean_of_shards(embeddings, scale, params):
            parts = self.function(embeddings, Contrast(scale, "data", self.chunk), params)
            return jax.lax.pmean(parts, "data")

        rows, whole = PartitionSpec("data"), PartitionSpec()
        used = {role: embeddings[role] for role in (*self.images, *self.roles)}
        sharded = jax.shard_map(mean_of_shards, mesh=self.mesh, in_specs=(rows, whole, whole), out_specs=whole)
        return sharded(used, scale, params)
