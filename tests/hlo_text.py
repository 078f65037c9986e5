"""Reads what a compiled program does from its text (`compiled.as_text()`)."""

import re
from collections import Counter

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"= (\(.*?\)|\S+) ([a-z][\w\-]*)\(")
_CALLED = re.compile(r"(?:to_apply|calls|body)=%?([\w.\-]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')

Shape = tuple[int, ...]


def operations(text: str) -> Counter[tuple[str, Shape]]:
    """(operation, shape of a result) → how often one device does it in a run of the program, loops counted in full.

    An operation with several results counts once for each.
    """
    own: dict[str, list[tuple[str, Shape]]] = {}
    calls: dict[str, list[tuple[str, int]]] = {}
    entry = current = ""
    for line in text.splitlines():
        if start := _COMPUTATION.match(line):
            current = start[1]
            own[current], calls[current] = [], []
            entry = current if line.startswith("ENTRY") else entry
        elif found := _INSTRUCTION.search(line):
            shapes = re.findall(r"\w+\[([\d,]*)\]", found[1])
            own[current] += [(found[2], tuple(int(n) for n in shape.split(",") if n)) for shape in shapes]
            trips = int(_TRIPS.search(line)[1]) if found[2] == "while" else 1
            calls[current] += [(name, trips) for name in _CALLED.findall(line)]
    total: Counter[tuple[str, Shape]] = Counter()

    def count(computation, times):
        for operation in own[computation]:
            total[operation] += times
        for name, trips in calls[computation]:
            count(name, times * trips)

    count(entry, 1)
    return total


def shapes(found: Counter[tuple[str, Shape]], operation: str) -> Counter[Shape]:
    """The shapes of one operation's results, and how often each is made."""
    return Counter({shape: times for (name, shape), times in found.items() if name == operation})
