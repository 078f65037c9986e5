"""FLOPs of a compiled program: two for each multiplication with its addition, in matrix products and convolutions.

The rest (norms, activations, softmax, the optimiser) does not run on the matrix units and is left out, as in the
analytic count that this one stands beside (`jaxclip.planning.minimum`).
"""

import math
import re

import numpy as np

from jaxclip.planning.hlo import Computation, Instruction, Module, executed


def matmul_flops(module: Module) -> int:
    """FLOPs of one device's program; loops count as often as they run."""
    return sum(step.count * instruction_flops(step.instruction, step.computation) for step in executed(module))


def instruction_flops(instruction: Instruction, computation: Computation) -> int:
    """FLOPs of one instruction: a `dot` or a `convolution`, 0 for others."""
    if instruction.opcode == "dot":
        contracted = _shape(computation, instruction.operands[0])
        dimensions = _integers(re.search(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.attributes)[1])
        return 2 * instruction.arrays[0].size * math.prod(contracted[dimension] for dimension in dimensions)
    if instruction.opcode == "convolution":
        return _convolution_flops(instruction, computation)
    return 0


def _integers(text: str, separator: str = ",") -> list[int]:
    return [int(number) for number in text.split(separator) if number]


def _shape(computation: Computation, name: str) -> tuple[int, ...]:
    return computation[name].arrays[0].shape


def _convolution_flops(instruction: Instruction, computation: Computation) -> int:
    """The TPU compiler writes every matrix product as a convolution; batches of them have dilated, padded windows."""
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", instruction.attributes)
    inputs, kernel = (_shape(computation, name) for name in instruction.operands[:2])
    result = instruction.arrays[0].shape
    window = re.search(r"window=\{([^}]*)\}", instruction.attributes)
    window = dict(part.split("=") for part in window[1].split()) if window else {}
    products = 1
    for place, label in enumerate(sorted(set(labels[1]) - set("bf"))):
        products *= _window_products(
            inputs[labels[1].index(label)], result[labels[3].index(label)], *_window(window, place)
        )
    features = kernel[labels[2].index("i")]  # already the inputs of one feature group
    # With batch groups each group of images meets its own part of the kernels.
    return 2 * products * result[labels[3].index("b")] * result[labels[3].index("f")] * features


def _window(window: dict[str, str], place: int) -> tuple[int, int, int, int, int]:
    """(size, stride, padding in front, dilation of the input, dilation of the window) along one axis."""

    def number(key: str, default: int) -> int:
        return _integers(window[key], "x")[place] if key in window else default

    padding = int(window["pad"].split("x")[place].partition("_")[0]) if "pad" in window else 0
    return number("size", 1), number("stride", 1), padding, number("lhs_dilate", 1), number("rhs_dilate", 1)


def _window_products(inputs: int, outputs: int, size: int, stride: int, padding: int, dilated: int, spread: int) -> int:
    """Pairs of an output and a place of the window that meet an input, not padding or a gap between inputs."""
    places = np.arange(outputs)[:, None] * stride + np.arange(size) * spread - padding
    meets = (places >= 0) & (places <= (inputs - 1) * dilated) & (places % dilated == 0)
    return int(meets.sum())
