"""Peak speeds of accelerators by the name that JAX gives them, for the share of the peak that a run reaches."""

# FLOP/s of dense bfloat16 matrix products, as the makers publish them. https://cloud.google.com/tpu/docs and NVIDIA's
# data sheets; the PCIe and SXM forms of a GPU have names of their own.
PEAK_FLOPS = {
    "TPU v2": 45e12,  # a device is a core here, half a chip
    "TPU v3": 61.5e12,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
    "Tesla V100-SXM2-16GB": 125e12,  # float16: it has no bfloat16
    "Tesla T4": 65e12,
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
    """FLOP/s of one device; None for a CPU or a device that is not in the table: nothing is guessed."""
    return PEAK_FLOPS.get(device_kind)
