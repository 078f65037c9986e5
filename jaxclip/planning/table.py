"""A plan as a table for people."""

from collections.abc import Iterator

_UNITS = (("P", 1e15), ("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3))
_KINDS = {
    "trained_parameters": "trained parameters",
    "frozen_parameters": "frozen parameters",
    "optimizer_state": "optimiser state",
    "batch": "batch",
    "padding": "padding of these",
    "outputs": "outputs",
    "temporaries": "temporaries",
    "generated_code": "generated code",
    "total": "total",
}


def quantity(value: float, unit: str) -> str:
    """2.5e9, "B" → `2.50 GB`; powers of a thousand."""
    for prefix, size in _UNITS:
        if abs(value) >= size:
            return f"{value / size:.2f} {prefix}{unit}"
    return f"{value:.0f} {unit}"


def milliseconds(seconds: float) -> str:
    """0.0123 → `12.30 ms`."""
    return f"{1000 * seconds:.2f} ms"


def plan_table(plan: dict) -> str:
    """The whole plan, section by section."""
    lines = [plan["title"], *_machine(plan), "", "Memory of a device", *_memory(plan)]
    if "flops" in plan:
        lines += ["", "Matrix-product FLOPs of a step", *_flops(plan)]
        lines += ["", "Sent by a device in a step", *_collectives(plan)]
        lines += [f"Warning: loop {name} has no known length; counted once" for name in plan["loops_of_unknown_length"]]
    if plan.get("roofline"):
        lines += ["", f"Roofline ({plan['chip']['source']})", *_roofline(plan)]
    if "search" in plan:
        lines += ["", _search(plan["search"])]
    return "\n".join(lines)


def _row(name: str, value: str, note: str = "") -> str:
    return f"  {name:<24}{value:>14}  {note}".rstrip()


def _machine(plan: dict) -> Iterator[str]:
    mesh = " × ".join(f"{axis} {size}" for axis, size in plan["mesh"].items())
    yield f"{plan['topology']}: {plan['devices']} devices, mesh {mesh}; compiled in {plan['compile_seconds']:.0f} s"
    for name, stream in plan["streams"].items():
        yield (
            f"stream {name}: {stream['batch_size']:,} records ({stream['batch_size_per_device']:g} a device) as "
            f"{stream['images']}, {stream['texts']:,} texts in {stream['groups']:,} × {stream['rows_per_group']:,} "
            f"rows of {stream['tokens_per_row']} tokens"
        )


def _memory(plan: dict) -> Iterator[str]:
    memory = plan["memory"]
    for kind, name in _KINDS.items():
        if kind in memory:
            yield _row(name, quantity(memory[kind], "B"))
    if plan["chip"]:
        capacity = quantity(plan["chip"]["hbm_bytes"], "B")
        available = f", of which programs get {quantity(memory['available'], 'B')}" if "available" in memory else ""
        yield f"  {'fits' if plan['fits'] else 'DOES NOT FIT'} in the {capacity} of a {plan['chip']['name']}{available}"


def _flops(plan: dict) -> Iterator[str]:
    flops, minimum = plan["flops"], plan["flops"]["minimum"]
    passes = flops["per_device_bfloat16"]
    note = f"{quantity(passes, 'FLOP')} in bfloat16 passes" if passes != flops["per_device"] else ""
    yield _row("a device", quantity(flops["per_device"], "FLOP"), note)
    yield _row("all devices", quantity(flops["global"], "FLOP"))
    yield _row(
        "analytic minimum", quantity(minimum["total"], "FLOP"), f"compiled: {flops['ratio_to_minimum']:.3f} × this"
    )
    for kind in ("forward", "activation_gradients", "weight_gradients"):
        yield _row(f"  {kind.replace('_', ' ')}", quantity(minimum[kind], "FLOP"))
    if flops["recomputed"]:
        ratio = flops["ratio_to_minimum_and_recomputed"]
        yield _row("recomputed", quantity(flops["recomputed"], "FLOP"), f"compiled: {ratio:.3f} × minimum and this")


def _collectives(plan: dict) -> Iterator[str]:
    for kind, traffic in plan["collectives"].items():
        note = f"{traffic['count']:,} of {quantity(traffic['payload'], 'B')} in all"
        yield _row(kind, quantity(traffic["sent"], "B"), note if traffic["count"] else "")


def _roofline(plan: dict) -> Iterator[str]:
    times = plan["roofline"]
    for bound in ("compute", "memory", "interconnect"):
        yield _row(bound, milliseconds(times[bound]), "rules" if bound == times["bound"] else "")
    yield _row("records a second", f"{times['records_per_second']:,.0f}", "at most, on all devices together")


def _search(search: dict) -> str:
    crashed = ", ".join(f"{size:,}" for size in search["crashed"])
    note = f" (the compiler crashed over {crashed})" if crashed else ""
    if search["largest"] == 0:
        return f"Largest batch: not even one record a device fits{note}"
    return f"Largest batch: {search['largest']:,} records a device fit, {search['does_not_fit']:,} do not{note}"
