"""A plan as a document: plain dicts and numbers, as written to JSON. Sizes in bytes, times in seconds."""

import dataclasses

from jaxclip.config import Config
from jaxclip.model import ModelConfig
from jaxclip.planning.abstract_step import AbstractStep, abstract_step
from jaxclip.planning.collectives import collective_traffic
from jaxclip.planning.compiling import DoesNotFit, compile_step
from jaxclip.planning.flops import bfloat16_flops, matmul_flops
from jaxclip.planning.hbm_traffic import hbm_bytes
from jaxclip.planning.hlo import Module, executed, parse, trip_count
from jaxclip.planning.memory import argument_bytes, program_bytes
from jaxclip.planning.minimum import minimum_of, recomputed_flops
from jaxclip.planning.roofline import roofline
from jaxclip.planning.search import Trial
from jaxclip.planning.topology import Topology


def make_plan(config: Config, architecture: ModelConfig, topology: Topology, tokens_per_caption: float) -> dict:
    """Compiles the step of a config for a machine and writes down what it costs.

    Raises:
      PlanError, ConfigError, TrainableError: as `abstract_step`.
    """
    step = abstract_step(config, architecture, topology, tokens_per_caption)
    compiled = compile_step(step)
    document = {
        "title": config.title,
        "topology": topology.name,
        "devices": len(topology.devices),
        "mesh": dict(step.mesh.shape),
        "model": {**architecture.as_dict(), "dtype": config.model.dtype},
        "tokens_per_caption": tokens_per_caption,
        "streams": {name: _stream(stream, len(topology.devices)) for name, stream in step.batch.items()},
        "compile_seconds": compiled.seconds,
        "chip": dataclasses.asdict(topology.chip) if topology.chip else None,
    }
    if isinstance(compiled, DoesNotFit):
        return {**document, "fits": False, "memory": _refused(step, compiled)}
    module = parse(compiled.text)
    plain = abstract_step(without_recomputation(config), architecture, topology, tokens_per_caption)
    document |= {
        "fits": None if topology.chip is None else True,  # the compiler has placed all of it in the chip's memory
        "memory": program_bytes(step, compiled.executable),
        "flops": _flops(step, plain, module),
        "hbm_bytes": hbm_bytes(module),
        "collectives": {
            kind: dataclasses.asdict(traffic)
            for kind, traffic in collective_traffic(module, len(topology.devices)).items()
        },
        "loops_of_unknown_length": _unknown_loops(module),
    }
    return {**document, "roofline": _roofline(topology, document)}


def without_recomputation(config: Config) -> Config:
    """The same run, with every activation kept."""
    model = config.model.model_copy(update={"remat": "none"})
    return config.model_copy(update={"model": model, "microbatch": None, "loss_chunk": None})


def _stream(stream: dict, devices: int) -> dict:
    groups, rows, row_length = stream["texts"]["tokens"].shape
    images = stream.get("features") or stream["images"]
    batch_size = next(iter(images.values())).shape[0]
    return {
        "batch_size": batch_size,
        "batch_size_per_device": batch_size / devices,
        "images": "features" if "features" in stream else "pixels",
        "texts": stream["texts"]["ends"].size,
        "groups": groups,
        "rows_per_group": rows,
        "tokens_per_row": row_length,
    }


def _refused(step: AbstractStep, refusal: DoesNotFit) -> dict:
    arguments = argument_bytes(step)
    return {
        **arguments,
        "temporaries": max(0, refusal.needed - sum(arguments.values())),
        "total": refusal.needed,
        "available": refusal.available,
    }


def _flops(step: AbstractStep, plain: AbstractStep, module: Module) -> dict:
    per_device = matmul_flops(module)
    whole = per_device * step.mesh.size
    needed = minimum_of(step)
    recomputed = recomputed_flops(step, plain)
    return {
        "per_device": per_device,
        "per_device_bfloat16": bfloat16_flops(module),
        "global": whole,
        "minimum": {**dataclasses.asdict(needed), "total": needed.total},
        "recomputed": recomputed,
        "ratio_to_minimum": whole / needed.total,
        "ratio_to_minimum_and_recomputed": whole / (needed.total + recomputed),
    }


def _unknown_loops(module: Module) -> list[str]:
    loops = [step.instruction for step in executed(module) if step.instruction.opcode == "while"]
    return sorted({loop.name for loop in loops if trip_count(module, loop) is None})


def _roofline(topology: Topology, document: dict) -> dict | None:
    if topology.chip is None:
        return None
    sent = sum(traffic["sent"] for traffic in document["collectives"].values())
    times = roofline(
        topology.chip,
        flops=document["flops"]["per_device_bfloat16"],
        hbm_bytes=document["hbm_bytes"],
        sent_bytes=sent,
    )
    records = sum(stream["batch_size"] for stream in document["streams"].values())
    return {
        **dataclasses.asdict(times),
        "step": times.seconds,
        "bound": times.bound,
        "records_per_second": records / times.seconds,
    }


def batch_per_device(config: Config, devices: int) -> int:
    """Records a device of the largest stream, at least 1."""
    return max(1, max(stream.batch_size for stream in config.streams.values()) // devices)


def with_batch(config: Config, per_device: int, devices: int) -> Config:
    """The same run with that many records a device in every stream."""
    streams = {
        name: stream.model_copy(update={"batch_size": per_device * devices}) for name, stream in config.streams.items()
    }
    return config.model_copy(update={"streams": streams})


def trial_of(plan: dict) -> Trial:
    """A plan for a chip as the first trial of a search."""
    memory = plan["memory"]
    return Trial(plan["fits"], memory["total"], memory.get("available", plan["chip"]["hbm_bytes"]))
