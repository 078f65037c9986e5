"""Bytes that a compiled program moves to and from the main memory of a device, estimated from its text.

Each operation outside a fusion reads its operands and writes its result once; within a fusion nothing leaves the chip.
Of an array that is only sliced, the slice counts, and of one that is updated in place, the update. A collective that is
run beside other work, a stretch of it in each of several fusions, counts where it starts. What the compiler placed in
on-chip memory does not count.
"""

from jaxclip.planning.hlo import Array, Computation, Instruction, Module, executed, root

# They name data, pass it on, or stand for a body whose own operations are counted.
_FREE = {
    "parameter", "constant", "get-tuple-element", "tuple", "bitcast", "after-all", "while", "conditional", "call",
    "partition-id", "replica-id", "opt-barrier", "async-start", "async-update", "iota", "add-dependency",
}  # fmt: skip
_SLICES = ("dynamic-slice", "slice", "gather")
# They change their first operand in place; which operand is the change.
_UPDATES = {"dynamic-update-slice": 1, "scatter": 2}


def hbm_bytes(module: Module) -> int:
    """Bytes read and written by one device in a step; loops count as often as they run."""
    return sum(
        step.count * _operation_bytes(module, step.instruction, step.computation)
        for step in executed(module)
        if not step.fused
    )


def _hbm(array: Array) -> int:
    return array.bytes if array.space == 0 else 0


def _operation_bytes(module: Module, step: Instruction, computation: Computation) -> int:
    if step.opcode in _FREE or step.opcode.endswith("-done") or _renames_buffers(step):
        return 0
    operands = [computation[name] for name in step.operands if name in computation]
    if step.opcode == "fusion":
        inner = module.computations[step.attribute("calls")]
        read = sum(_read_of_parameter(module, inner, number, operand) for number, operand in enumerate(operands))
        return read + _written(module, inner, root(inner), step.arrays)
    # The result of a first half (-start) is a tuple. A slice's: the source, the destination, words of context; a
    # copy's: the destination, the source, words of context.
    opcode = step.opcode.removesuffix("-start")
    results = step.arrays
    if opcode != step.opcode and opcode in (*_SLICES, "copy"):
        results = step.arrays[:1] if opcode == "copy" else step.arrays[1:2]
    if opcode in _SLICES:
        read = sum(_hbm(array) for operand in operands[1:] for array in operand.arrays)
        return read + _read_of_slice(operands[0], results[0].bytes) + _hbm(results[0])
    if opcode in _UPDATES:
        return 2 * sum(_hbm(array) for array in operands[_UPDATES[opcode]].arrays)
    read = sum(_hbm(array) for operand in operands for array in operand.arrays)
    if opcode != step.opcode and opcode not in ("copy", "all-reduce"):
        read = 0  # collectives list their inputs among their results
    return read + sum(map(_hbm, results))


def _renames_buffers(step: Instruction) -> bool:
    """The TPU compiler's own custom calls allocate and join buffers; only those of written kernels move data."""
    return step.opcode == "custom-call" and 'custom_call_target="tpu_custom_call"' not in step.attributes


def _read_of_slice(source: Instruction, count: int) -> int:
    """`count` where the source lies in the main memory."""
    return count if source.arrays and source.arrays[0].space == 0 else 0


def _read_of_parameter(module: Module, inner: Computation, number: int, operand: Instruction) -> int:
    whole = sum(map(_hbm, operand.arrays))
    if whole == 0:
        return 0
    parameter = next(s for s in inner.values() if s.opcode == "parameter" and s.arguments.strip() == str(number))
    return min(whole, _used_bytes(module, inner, parameter.name, whole))


def _used_bytes(module: Module, inner: Computation, name: str, whole: int) -> int:
    """How many bytes of an array the operations of a fusion read."""
    used = 0
    for user in inner.values():
        for place, operand in enumerate(user.operands):
            if operand != name:
                continue
            if user.opcode in _SLICES and place == 0:
                used += user.arrays[0].bytes
            elif user.opcode in _UPDATES and place == 0:
                continue  # updated in place
            elif user.opcode == "tuple" or _is_counted_at_its_start(user):
                continue  # handed on
            elif user.opcode == "bitcast":
                used += _used_bytes(module, inner, user.name, whole)
            elif user.opcode == "fusion":
                nested = module.computations[user.attribute("calls")]
                parameter = next(
                    s for s in nested.values() if s.opcode == "parameter" and s.arguments.strip() == str(place)
                )
                used += _used_bytes(module, nested, parameter.name, whole)
            else:
                return whole
    return used


def _is_counted_at_its_start(user: Instruction) -> bool:
    """Whether an operation of a fusion is a stretch of a collective, or what ends it."""
    return user.is_stretch or "AsyncCollectiveDone" in user.attributes


def _written(module: Module, inner: Computation, result: Instruction, arrays: tuple[Array, ...]) -> int:
    """Bytes that a fusion writes for the result `result`, whose arrays lie where `arrays` say."""
    if result.opcode == "tuple":
        parts = [inner[name] for name in result.operands]
        if len(parts) == len(arrays):
            return sum(_written(module, inner, part, (array,)) for part, array in zip(parts, arrays, strict=True))
    if result.opcode == "bitcast":
        return _written(module, inner, inner[result.operands[0]], arrays)
    if result.opcode == "parameter" or _is_counted_at_its_start(result):
        return 0
    if result.opcode in _UPDATES and arrays[0].space == 0:
        return inner[result.operands[_UPDATES[result.opcode]]].arrays[0].bytes
    if result.opcode == "fusion":
        nested = module.computations[result.attribute("calls")]
        return _written(module, nested, root(nested), arrays)
    return sum(map(_hbm, arrays))
