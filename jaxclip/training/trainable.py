"""What is trained and what stays frozen: a list of names and patterns, turned into two disjoint sets of leaves.

Parameters are handled here as flat dicts, path → leaf, e.g. `text/transformer/resblocks_0/mlp/c_fc/kernel`.
Differentiating with respect to the trained dict alone leaves the frozen part out of gradients, clipping, norms,
optimiser state and all-reduces by construction.
"""

import difflib
import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence

import jax
from flax.traverse_util import flatten_dict, unflatten_dict

FlatParams = dict[str, jax.Array]

LAYER = re.compile(r"text/transformer/resblocks_(\d+)/")
MACRO = re.compile(r"(front|middle|back)_text_layers\((\d+)\)")
# What batch normalisation has counted. It gets no gradient, but weight decay would move it all the same.
STATISTIC = re.compile(r"visual/(.*/)?(mean|var)")


class TrainableError(ValueError):
    """Patterns, of `config.trainable` or `optimizer.learning_rate_factors`, that do not fit the model."""


def flatten(params: Mapping) -> FlatParams:
    """Nested parameters → path → leaf."""
    return flatten_dict(params, sep="/")


def merge(*parts: FlatParams) -> dict:
    """Flat dicts with disjoint paths → nested parameters, as the model takes them."""
    return unflatten_dict({path: leaf for part in parts for path, leaf in part.items()}, sep="/")


def text_layers(paths: Iterable[str]) -> list[int]:
    """The text layers that have a leaf among `paths`, in order."""
    return sorted({int(match[1]) for match in map(LAYER.match, paths) if match})


def _layers_of(pattern: str, depth: int) -> list[int] | None:
    """`front_text_layers(6)` → [0..5] and so on, None for a pattern that is not of this form."""
    if pattern == "whole_text_layers":
        return list(range(depth))
    match = MACRO.fullmatch(pattern)
    if match is None:
        return None
    count = int(match[2])
    if not 0 < count <= depth:
        raise TrainableError(f"{pattern!r}: the text tower has {depth} layers, expected a count from 1 to {depth}")
    start = {"front": 0, "middle": (depth - count) // 2, "back": depth - count}[match[1]]
    return list(range(start, start + count))


def matches(pattern: str, paths: Sequence[str], depth: int | None = None) -> list[str]:
    """The paths that one entry of `config.trainable` stands for.

    An entry is `front_text_layers(N)`, `middle_text_layers(N)`, `back_text_layers(N)`, `whole_text_layers`, the name of
    a leaf or of a module (`text/ln_final`, `visual`), or a shell pattern over whole paths (`*/ln_?/*`). The statistics
    of a ResNet's batch normalisation stay frozen whatever the entry.

    Args:
      pattern: the entry.
      paths: the leaves to choose among.
      depth: how many layers the text tower has, where `paths` are not those of a whole model.

    Raises:
      TrainableError: nothing matches, nothing but statistics matches, or the layer count is out of range.
    """
    layers = _layers_of(pattern, len(text_layers(paths)) if depth is None else depth)
    if layers is not None:
        prefixes = tuple(f"text/transformer/resblocks_{layer}/" for layer in layers)
        found = [path for path in paths if path.startswith(prefixes)]
    elif any(character in pattern for character in "*?["):
        found = [path for path in paths if fnmatch.fnmatchcase(path, pattern)]
    else:
        found = [path for path in paths if path == pattern or path.startswith(pattern.rstrip("/") + "/")]
    if not found:
        modules = {"/".join(path.split("/")[:n]) for path in paths for n in range(1, path.count("/") + 2)}
        near = difflib.get_close_matches(pattern, [*modules, "front_text_layers(1)", "whole_text_layers"], n=3)
        hint = f"; near: {', '.join(near)}" if near else ""
        raise TrainableError(f"{pattern!r} matches no parameter{hint}")
    parameters = [path for path in found if not STATISTIC.fullmatch(path)]
    if not parameters:
        raise TrainableError(f"{pattern!r}: {found[0]} is a statistic of batch normalisation, never trained")
    return parameters


def group_by_pattern(patterns: Sequence[str], paths: Sequence[str], depth: int | None = None) -> dict[str, list[str]]:
    """pattern → the paths it stands for (see `matches`), disjoint.

    Raises:
      TrainableError: a pattern matches nothing, or two patterns match the same leaf.
    """
    groups: dict[str, list[str]] = {}
    owner: dict[str, str] = {}
    for pattern in patterns:
        groups[pattern] = matches(pattern, paths, depth)
        for path in groups[pattern]:
            if path in owner:
                raise TrainableError(f"parameter {path!r} is matched twice: by {owner[path]!r} and by {pattern!r}")
            owner[path] = pattern
    return groups


def partition(params: FlatParams, patterns: Sequence[str]) -> tuple[FlatParams, FlatParams]:
    """(trained, frozen) by `config.trainable`.

    Raises:
      TrainableError: as `group_by_pattern`, or nothing is trained.
    """
    trained_paths = {path for found in group_by_pattern(patterns, list(params)).values() for path in found}
    if not trained_paths:
        raise TrainableError("found an empty list, expected at least one pattern")
    trained = {path: leaf for path, leaf in params.items() if path in trained_paths}
    return trained, {path: leaf for path, leaf in params.items() if path not in trained_paths}


def _group_name(path: str) -> str:
    """The row of the start-up table that a leaf is counted in: `text/transformer/resblocks_0`, `text/ln_final`, …"""
    parts = path.split("/")
    if parts[0] == "visual":
        return "visual"
    return "/".join(parts[:3] if len(parts) > 3 else parts[:2])


def trainable_table(trained: FlatParams, frozen: FlatParams) -> str:
    """The start-up table: groups in model order, their parameters, trained or frozen, and the totals."""
    counts: dict[tuple[str, str], int] = {}
    order = sorted(
        {**trained, **frozen}, key=lambda path: (path.startswith("visual"), "resblocks" in path, _natural(path))
    )
    for path in order:
        status = "trained" if path in trained else "frozen"
        leaf = trained[path] if path in trained else frozen[path]
        key = (_group_name(path), status)
        counts[key] = counts.get(key, 0) + leaf.size
    total = sum(counts.values())
    total_trained = sum(count for (_, status), count in counts.items() if status == "trained")
    width = max(len(name) for name, _ in counts)
    lines = [f"{name:<{width}}  {count:>13,}  {status}" for (name, status), count in counts.items()]
    share = 100 * total_trained / total
    return "\n".join([*lines, f"{'trained':<{width}}  {total_trained:>13,}  of {total:,} ({share:.1f} %)"])


def _natural(path: str) -> list:
    """Sort key that puts resblocks_2 before resblocks_10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path)]
