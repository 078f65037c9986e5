"""Reads the text of a compiled program: its instructions, and how often each of them runs.

XLA's own cost analysis counts the body of a loop once, however often it runs; microbatches and chunks of logits are
such loops. So costs are added up here, instruction by instruction, each times the trips of the loops around it.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping

BYTES = {"pred": 1, "token": 0, "opaque": 0}  # of types whose name does not end in their bits
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{\s*$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^}]*)\})?")
_OPERAND = re.compile(r"%([\w.\-]+)")
_MEMORY_SPACE = re.compile(r"S\((\d+)\)")


@dataclasses.dataclass(frozen=True)
class Array:
    """One array of a result. `space` is 0 for the main memory (HBM), another number for on-chip or host memory."""

    type: str
    shape: tuple[int, ...]
    space: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        bits = re.match(r"[a-z]+(\d+)", self.type)
        return self.size * BYTES[self.type] if self.type in BYTES else math.ceil(self.size * int(bits[1]) / 8)


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a program; `attributes` is the text behind the operands, `arrays` the leaves of its result."""

    name: str
    opcode: str
    arrays: tuple[Array, ...]
    operands: tuple[str, ...]
    arguments: str
    attributes: str
    is_root: bool

    def attribute(self, name: str) -> str | None:
        """`calls` → the name behind `calls=%`."""
        match = re.search(rf"\b{name}=%?([\w.\-]+)", self.attributes)
        return match[1] if match else None

    @property
    def is_stretch(self) -> bool:
        """Whether this is one stretch of a collective that is run beside other work.

        The TPU compiler fuses a stretch of it into each of several operations. All of them show the whole collective;
        the first of them also has a call of `AsyncCollectiveStart`, the last one of `AsyncCollectiveDone`.
        """
        return 'chain_id="' in self.attributes


Computation = Mapping[str, Instruction]


@dataclasses.dataclass(frozen=True)
class Module:
    """A program: its computations by name, each name → instruction in order, and which of them is run."""

    computations: Mapping[str, Computation]
    entry: str


@dataclasses.dataclass(frozen=True)
class Executed:
    """An instruction with its surroundings: how often it runs a step, where, and whether within a fusion."""

    instruction: Instruction
    computation_name: str
    computation: Computation
    count: int
    fused: bool


def _closing(text: str, start: int) -> int:
    """The place of the parenthesis that closes the one at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise ValueError(f"HLO: unbalanced parentheses in {text[:80]!r}")


def _arrays(text: str) -> tuple[Array, ...]:
    found = []
    for match in _ARRAY.finditer(re.sub(r"/\*.*?\*/", "", text)):
        space = _MEMORY_SPACE.search(match[3] or "")
        shape = tuple(int(size) for size in match[2].split(",") if size)
        found.append(Array(match[1], shape, int(space[1]) if space else 0))
    return tuple(found)


def _instruction(line: str) -> Instruction | None:
    head = _INSTRUCTION.match(line)
    if head is None:
        return None
    rest = line[head.end() :]
    end = _closing(rest, 0) + 1 if rest.startswith("(") else rest.index(" ")
    type_text, rest = rest[:end], rest[end:].strip()
    opened = rest.index("(")
    closed = _closing(rest, opened)
    arguments = rest[opened + 1 : closed]
    return Instruction(
        name=head[2],
        opcode=rest[:opened],
        arrays=_arrays(type_text),
        operands=tuple(_OPERAND.findall(arguments)),
        arguments=arguments,
        attributes=rest[closed + 1 :],
        is_root=bool(head[1]),
    )


def parse(text: str) -> Module:
    """The program of `compiled.as_text()`.

    Raises:
      ValueError: it has no entry computation.
    """
    computations, entry, current = {}, None, None
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            current = computations[header[2]] = {}
            entry = header[2] if header[1] else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and (instruction := _instruction(line)):
            current[instruction.name] = instruction
    if entry is None:
        raise ValueError("HLO: the text has no ENTRY computation")
    return Module(computations, entry)


def root(computation: Computation) -> Instruction:
    """The instruction whose result is the computation's."""
    return next(instruction for instruction in computation.values() if instruction.is_root)


def trip_count(module: Module, loop: Instruction) -> int | None:
    """How often the body of a `while` runs; None where the text does not say.

    The compiler for CPUs writes it down. That for TPUs does not: there the loop's condition is read, which for
    `lax.scan` is `counter < N` with a counter that starts at 0 and grows by 1.
    """
    known = re.search(r'known_trip_count":\{"n":"(\d+)"', loop.attributes)
    if known:
        return int(known[1])
    condition = module.computations[loop.attribute("condition")]
    compared = [step for step in _with_called(module, condition) if step.opcode == "compare"]
    limits = [step for step in condition.values() if step.opcode == "constant" and step.arrays[0].shape == ()]
    if len(compared) == 1 and len(limits) == 1 and "direction=LT" in compared[0].attributes:
        return int(limits[0].arguments)
    return None


def _with_called(module: Module, computation: Computation) -> Iterator[Instruction]:
    for instruction in computation.values():
        yield instruction
        called = instruction.attribute("calls")
        if called is not None:
            yield from _with_called(module, module.computations[called])


def executed(module: Module) -> Iterator[Executed]:
    """Every instruction that a step runs, with its count; a loop of unknown length counts once.

    All branches of a conditional count. Of an operation in two halves (`-start`, `-done`) the first is to be counted.
    """
    yield from _executed(module, module.entry, 1, False)


def _executed(module: Module, name: str, count: int, fused: bool) -> Iterator[Executed]:
    computation = module.computations[name]
    for instruction in computation.values():
        yield Executed(instruction, name, computation, count, fused)
        if instruction.opcode == "while":
            trips = trip_count(module, instruction)
            yield from _executed(module, instruction.attribute("body"), count * (1 if trips is None else trips), fused)
        elif instruction.opcode == "conditional":
            for branch in _branches(instruction):
                yield from _executed(module, branch, count, fused)
        elif instruction.opcode == "call":
            yield from _executed(module, instruction.attribute("to_apply"), count, fused)
        elif instruction.opcode in ("fusion", "async-start"):
            inner = fused or instruction.opcode == "fusion"
            yield from _executed(module, instruction.attribute("calls"), count, inner)


def _branches(instruction: Instruction) -> list[str]:
    listed = re.search(r"branch_computations=\{([^}]*)\}", instruction.attributes)
    if listed:
        return _OPERAND.findall(listed[1])
    return [instruction.attribute("true_computation"), instruction.attribute("false_computation")]
