"""Published figures of accelerators: for plans of runs on TPUs, and for the share of its peak that a run reaches."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Chip:
    """One chip that can be planned for.

    Attributes:
      name: as Google writes it.
      peak_flops: bfloat16 FLOP/s of the matrix units.
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

# FLOP/s of dense bfloat16 matrix products by the name that JAX gives a device. TPUs: https://cloud.google.com/tpu/docs;
# GPUs: NVIDIA's data sheets, the PCIe and SXM forms having names of their own.
_PEAK_FLOPS = {
    "TPU v2": 22.5e12,  # a device is a core here, half a chip
    "TPU v3": 61.5e12,  # likewise
    "TPU v4": 275e12,
    "TPU v5 lite": CHIPS["v5e"].peak_flops,
    "TPU v5e": CHIPS["v5e"].peak_flops,
    "TPU v5": CHIPS["v5p"].peak_flops,
    "TPU v5p": CHIPS["v5p"].peak_flops,
    "TPU v6 lite": CHIPS["v6e"].peak_flops,
    "TPU v6e": CHIPS["v6e"].peak_flops,
    "Tesla V100-SXM2-16GB": 125e12,  # float16: it has no bfloat16
    "Tesla T4": 65e12,  # float16 as well
    "NVIDIA A10G": 70e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40S": 362e12,
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H200": 989e12,
}


def peak_flops(device_kind: str) -> float | None:
    """FLOP/s of one device; None for a CPU or a device that is not in the table: nothing is guessed.

    Args:
      device_kind: `jax.Device.device_kind`.
    """
    return _PEAK_FLOPS.get(device_kind)
