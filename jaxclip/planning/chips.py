"""Published figures of TPU chips."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Chip:
    """One chip.

    Attributes:
      name: as Google writes it.
      peak_flops: bfloat16 FLOP/s of the matrix units; at JAX's default precision float32 products are as fast.
      hbm_bytes: capacity of the high-bandwidth memory.
      hbm_bandwidth: bytes/s.
      interconnect_bandwidth: bytes/s that a chip sends, over all its links together: half of the bidirectional figure
        that Google publishes.
      source: where the figures are from.
    """

    name: str
    peak_flops: float
    hbm_bytes: float
    hbm_bandwidth: float
    interconnect_bandwidth: float
    source: str


CHIPS = {
    "v5e": Chip("TPU v5e", 197e12, 16e9, 819e9, 200e9, "https://cloud.google.com/tpu/docs/v5e"),
    "v5p": Chip("TPU v5p", 459e12, 95e9, 2765e9, 600e9, "https://cloud.google.com/tpu/docs/v5p"),
    "v6e": Chip("TPU v6e", 918e12, 32e9, 1638e9, 400e9, "https://cloud.google.com/tpu/docs/v6e"),
}
