"""What devices send to each other in a step, by kind of collective.

n devices in a group. Bytes sent by each device, on a ring (all-to-all: directly), of an array of S bytes on a device:

  all-gather           (n − 1)/n of the gathered result
  reduce-scatter       (n − 1)/n of what is scattered
  all-reduce           a reduce-scatter and an all-gather: 2(n − 1)/n · S
  all-to-all           (n − 1)/n · S
  collective-permute   S
"""

import dataclasses
import math
import re
from collections.abc import Iterable

from jaxclip.planning.hlo import Array, Executed, Instruction, Module, executed

KINDS = ("all-gather", "reduce-scatter", "all-reduce", "all-to-all", "collective-permute")
# The TPU compiler writes a reduce-scatter as a fusion of this name, made of an all-reduce and a slice.
_FUSED_REDUCE_SCATTER = "all-reduce-scatter"


@dataclasses.dataclass(frozen=True)
class Traffic:
    """One kind of collective, for one device and one step.

    Attributes:
      count: how many are run.
      payload: bytes of the whole arrays: gathered results, arrays before a reduce-scatter, reduced arrays.
      sent: bytes that the device sends.
    """

    count: int = 0
    payload: int = 0
    sent: float = 0.0


def collective_traffic(module: Module, devices: int) -> dict[str, Traffic]:
    """kind → its traffic, for every one of `KINDS`; loops count as often as they run."""
    totals = {kind: Traffic() for kind in KINDS}
    for step in executed(module):
        kind = step.instruction.opcode.removesuffix("-start")
        if kind not in KINDS or _is_continued(step):
            continue
        payload, group = _payload(step), _group_size(step.instruction, devices)
        if kind == "all-reduce" and step.computation_name.startswith(_FUSED_REDUCE_SCATTER):
            kind = "reduce-scatter"
        if group > 1:
            before = totals[kind]
            sent = before.sent + step.count * payload * _share_sent(kind, group)
            totals[kind] = Traffic(before.count + step.count, before.payload + step.count * payload, sent)
    return totals


def _is_continued(step: Executed) -> bool:
    """Whether this is a later stretch of a collective that was begun, and counted, before."""
    begins = any("AsyncCollectiveStart" in other.attributes for other in step.computation.values())
    return step.instruction.is_stretch and not begins


def _share_sent(kind: str, group: int) -> float:
    share = (group - 1) / group
    return {"all-reduce": 2 * share, "collective-permute": 1.0}.get(kind, share)


def _bytes(arrays: Iterable[Array]) -> int:
    return sum(array.bytes for array in arrays)


def _payload(step: Executed) -> int:
    """Of inputs and result the larger: what is gathered grows, what is scattered shrinks, the rest stays as it is."""
    instruction, computation = step.instruction, step.computation
    inputs = sum(_bytes(computation[name].arrays) for name in instruction.operands if name in computation)
    # The result of a first half (-start) lists the inputs as well, and on TPUs some words of context.
    results = _bytes(array for array in instruction.arrays if array.shape)
    if instruction.opcode.endswith("-start") and instruction.opcode != "all-reduce-start":
        results -= inputs
    return max(inputs, results) if inputs else results


def _group_size(instruction: Instruction, devices: int) -> int:
    """Devices that take part together.

    Groups come as lists `{{0,1},{2,3}}`, as a grid `[2,4]<=[8]` of two rows, or as axes of a mesh,
    `mesh['x'=4,'y'=2] {'x'}`; no groups are all devices.
    """
    text = instruction.attributes
    if instruction.opcode.startswith("collective-permute"):
        return devices
    if grid := re.search(r"replica_groups=\[(\d+),(\d+)\]", text):
        return int(grid[2])
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", text):
        sizes = {name: int(size) for name, size in re.findall(r"'([^']+)'=(\d+)", mesh[1])}
        return math.prod(sizes[name] for name in re.findall(r"'([^']+)'", mesh[2]))
    if listed := re.search(r"replica_groups=\{\{([\d,]+)\}", text):
        return listed[1].count(",") + 1
    return devices
