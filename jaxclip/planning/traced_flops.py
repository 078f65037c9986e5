"""FLOPs of matrix products and convolutions in a traced function, before any compiler has seen it."""

import math
from collections.abc import Callable

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
from jax.interpreters import partial_eval


def traced_flops(function: Callable, *arguments) -> int:
    """FLOPs over all devices of what the results need; bodies of `lax.scan` count as often as they run.

    Args:
      function: anything that JAX can trace.
      arguments: arrays, or `jax.ShapeDtypeStruct` in their place.
    """
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    # What nobody reads, such as the weight gradients of frozen layers, no compiler leaves in the program.
    used, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return _jaxpr_flops(used)


def _jaxpr_flops(jaxpr: Jaxpr) -> int:
    return sum(_equation_flops(equation) for equation in jaxpr.eqns)


def _equation_flops(equation: JaxprEqn) -> int:
    name = equation.primitive.name
    result = equation.outvars[0].aval if equation.outvars else None
    if name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return 2 * math.prod(result.shape) * math.prod(shape[dimension] for dimension in contracted)
    if name == "conv_general_dilated":
        kernel = equation.invars[1].aval.shape
        outputs = kernel[equation.params["dimension_numbers"].rhs_spec[0]]
        return 2 * math.prod(result.shape) * math.prod(kernel) // outputs
    times = equation.params["length"] if name == "scan" else 1
    if name == "shard_map":  # its body is the share of one place along these axes of the mesh
        times = math.prod(equation.params["mesh"].shape[axis] for axis in equation.params["newly_manual_axes"])
    inner = [value for value in jax.tree.leaves(equation.params, is_leaf=_is_jaxpr) if _is_jaxpr(value)]
    flops = [_jaxpr_flops(value.jaxpr if isinstance(value, ClosedJaxpr) else value) for value in inner]
    # One branch of a `cond` runs; those of `lax.platform_dependent` do the same work.
    return max(flops) if name == "cond" else times * sum(flops)


def _is_jaxpr(value: object) -> bool:
    return isinstance(value, Jaxpr | ClosedJaxpr)
