"""Memory of one device by kind, in bytes."""

import math

import jax

from jaxclip.planning.abstract_step import AbstractStep


def bytes_on_device(leaves) -> int:
    """Bytes of one device's shards of a tree of `jax.ShapeDtypeStruct` with shardings."""
    return sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in jax.tree.leaves(leaves)
    )


def argument_bytes(step: AbstractStep) -> dict[str, int]:
    """What a step is given, by kind. The trained parameters and the optimiser's state are updated in place."""
    return {
        "trained_parameters": bytes_on_device(step.state.params),
        "frozen_parameters": bytes_on_device(step.frozen),
        "optimizer_state": bytes_on_device((step.state.optimizer, step.state.step)),
        "batch": bytes_on_device(step.batch),
    }


def program_bytes(step: AbstractStep, executable: jax.stages.Compiled) -> dict[str, int]:
    """What a compiled step occupies, by kind, and the `total`.

    `padding` is what the layout of the chip adds to the arguments (negative where the compiler found that the step does
    not need one), `outputs` what is not updated in place.
    """
    found = executable.memory_analysis()
    arguments = argument_bytes(step)
    kinds = {
        **arguments,
        "padding": found.argument_size_in_bytes - sum(arguments.values()),
        "outputs": found.output_size_in_bytes - found.alias_size_in_bytes,
        "temporaries": found.temp_size_in_bytes,
        "generated_code": found.generated_code_size_in_bytes,
    }
    return {**kinds, "total": sum(kinds.values())}
