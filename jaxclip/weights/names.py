"""Where each parameter lies in a foreign checkpoint, both ways.

A rule says under which keys a parameter is stored (three where Hugging Face splits query, key and value) and in which
order of axes. To us: join the tensors along their first axis, then permute the axes. To them: the inverse. Nothing is
computed, so a round trip gives back every bit.
"""

import dataclasses
import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxclip.weights.files import TensorFile
from jaxclip.weights.tensors import LazyTensor, WeightsError

# Not parameters: sizes that OpenAI stores as tensors, counters, masks and position numbers.
IGNORED_KEYS = (
    "input_resolution",
    "context_length",
    "vocab_size",
    "attn_mask",
    "*.attn_mask",
    "*.num_batches_tracked",
    "*.position_ids",
)
FLOAT_TYPES = ("float32", "float16", "bfloat16")

_MATRIX_AXES = (1, 0)  # torch [out, in] → ours [in, out]
_KERNEL_AXES = (2, 3, 1, 0)  # torch [out, in, height, width] → ours [height, width, in, out]
_COPIED_AT_ONCE = 64  # columns of a transposed array; 32 to 256 are about as fast


@dataclasses.dataclass(frozen=True)
class Rule:
    """Where one parameter is stored.

    Attributes:
      keys: the foreign keys, whose tensors are joined along their first axis.
      axes: for each of our axes the foreign one, None where they are the same.
    """

    keys: tuple[str, ...]
    axes: tuple[int, ...] | None = None

    def foreign_shape(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape of each foreign tensor of a parameter of shape `shape`."""
        foreign = tuple(shape) if self.axes is None else tuple(shape[axis] for axis in np.argsort(self.axes))
        return foreign if len(self.keys) == 1 else (foreign[0] // len(self.keys), *foreign[1:])

    def to_ours(self, tensors: Sequence[LazyTensor]) -> np.ndarray:
        """The parameter, in C order."""
        arrays = [np.asarray(tensor) for tensor in tensors]
        joined = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        return _in_c_order(joined if self.axes is None else joined.transpose(self.axes))

    def to_foreign(self, parameter: np.ndarray) -> dict[str, np.ndarray]:
        """Key → tensor, in C order."""
        whole = parameter if self.axes is None else parameter.transpose(np.argsort(self.axes))
        parts = [whole] if len(self.keys) == 1 else np.split(whole, len(self.keys))
        return {key: _in_c_order(part) for key, part in zip(self.keys, parts, strict=True)}


def _in_c_order(array: np.ndarray) -> np.ndarray:
    """The same numbers in C order, copied where they lie in another one.

    A few columns at a time, whose lines stay in the processor's cache until all of their numbers are copied. NumPy goes
    row by row and takes three times as long for the matrices of CLIP.
    """
    if array.flags.c_contiguous:
        return array
    copy = np.empty(array.shape, array.dtype)
    for start in range(0, array.shape[-1], _COPIED_AT_ONCE):
        columns = slice(start, start + _COPIED_AT_ONCE)
        copy[..., columns] = array[..., columns]
    return copy


RuleOf = Callable[[str, int], Rule]  # (path, number of axes) → rule

_OPENAI_SPELLING = (
    (r"^text/", ""),
    (r"resblocks_(\d+)", r"resblocks/\1"),
    (r"layer(\d)_(\d+)", r"layer\1/\2"),
    (r"downsample_(\d)", r"downsample/\1"),
    (r"in_proj/kernel$", "in_proj_weight"),
    (r"in_proj/bias$", "in_proj_bias"),
    (r"/(kernel|scale)$", "/weight"),
    (r"/(mean|var)$", r"/running_\1"),
    (r"^(token_embedding|visual/conv1)$", r"\1/weight"),
    (r"/", "."),
)

_HUGGINGFACE_SPELLING = (
    (r"^(text|visual)/transformer/resblocks_(\d+)", r"\1/encoder/layers/\2"),
    (r"^text/text_projection$", "text_projection/weight"),
    (r"^visual/proj$", "visual_projection/weight"),
    (r"^visual/conv1$", "visual/embeddings/patch_embedding/weight"),
    (r"^visual/class_embedding$", "visual/embeddings/class_embedding"),
    (r"^text/token_embedding$", "text/embeddings/token_embedding/weight"),
    (r"^(text|visual)/positional_embedding$", r"\1/embeddings/position_embedding/weight"),
    (r"ln_final", "final_layer_norm"),
    (r"ln_pre", "pre_layrnorm"),  # the spelling of the format
    (r"ln_post", "post_layernorm"),
    (r"ln_([12])", r"layer_norm\1"),
    (r"c_fc", "fc1"),
    (r"c_proj", "fc2"),
    (r"/attn/", "/self_attn/"),
    (r"/(kernel|scale)$", "/weight"),
    (r"^text/", "text_model/"),
    (r"^visual/", "vision_model/"),
    (r"/", "."),
)


def _spell(path: str, spelling: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in spelling:
        path = re.sub(pattern, replacement, path)
    return path


def _axes(path: str, ndim: int) -> tuple[int, ...] | None:
    if ndim == 4:
        return _KERNEL_AXES
    return _MATRIX_AXES if path.endswith("/kernel") else None


def openai_rule(path: str, ndim: int) -> Rule:
    """The rule of OpenAI's modules, which OpenCLIP kept."""
    return Rule((_spell(path, _OPENAI_SPELLING),), _axes(path, ndim))


def huggingface_rule(path: str, ndim: int) -> Rule:
    """The rule of `transformers.CLIPModel`."""
    key = _spell(path, _HUGGINGFACE_SPELLING)
    if path in ("text/text_projection", "visual/proj"):
        return Rule((key,), _MATRIX_AXES)
    keys = tuple(key.replace("in_proj", f"{part}_proj") for part in "qkv") if "in_proj" in key else (key,)
    return Rule(keys, _axes(path, ndim))


def to_params(file: TensorFile, shapes: Mapping[str, tuple[int, ...]], rule_of: RuleOf) -> dict[str, LazyTensor]:
    """The parameters of an architecture, path → tensor, still in the file.

    Args:
      file: the foreign tensors.
      shapes: path → shape of every parameter (`jaxclip.model.parameter_shapes`).
      rule_of: where the format keeps a parameter.

    Raises:
      WeightsError: a key is missing or left over, or has another shape or type than the architecture asks for.
    """
    params, used = {}, set()
    for path, shape in shapes.items():
        rule = rule_of(path, len(shape))
        tensors = [_checked(file, key, rule.foreign_shape(shape)) for key in rule.keys]
        kinds = {tensor.dtype for tensor in tensors}
        if len(kinds) > 1:
            raise WeightsError(f"{file.path}: keys {', '.join(rule.keys)}: found several types, expected one")
        params[path] = LazyTensor(shape, tensors[0].dtype, lambda rule=rule, tensors=tensors: rule.to_ours(tensors))
        used.update(rule.keys)
    extra = sorted(key for key in file.tensors if key not in used and not _is_ignored(key))
    if extra:
        raise WeightsError(f"{file.path}: key {extra[0]!r} has no place in this architecture ({len(extra)} such keys)")
    return params


def _is_ignored(key: str) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in IGNORED_KEYS)


def _checked(file: TensorFile, key: str, shape: tuple[int, ...]) -> LazyTensor:
    if key not in file.tensors:
        raise WeightsError(f"{file.path}: key {key!r} is missing, expected a tensor of shape {shape}")
    tensor = file.tensors[key]
    if tensor.shape != shape:
        raise WeightsError(f"{file.path}: key {key!r}: found the shape {tensor.shape}, expected {shape}")
    if tensor.dtype.name not in FLOAT_TYPES:
        expected = ", ".join(FLOAT_TYPES)
        raise WeightsError(f"{file.path}: key {key!r}: found the type {tensor.dtype.name}, expected one of {expected}")
    return tensor


def to_foreign(params: Mapping[str, np.ndarray], rule_of: RuleOf) -> dict[str, np.ndarray]:
    """Key → tensor of a foreign format; the inverse of `to_params`."""
    tensors: dict[str, np.ndarray] = {}
    for path, parameter in params.items():
        parameter = np.asarray(parameter)
        tensors.update(rule_of(path, parameter.ndim).to_foreign(parameter))
    return tensors
