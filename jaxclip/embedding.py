"""Running the two towers over many images or texts, on all devices.

Shapes: N items, B batch, D embedding, S image size.
"""

import collections
import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import jax
import numpy as np
from jax.sharding import Mesh

from jaxclip.compiled_programs import compiler_options
from jaxclip.data.packing import in_batches, pack, rows_used
from jaxclip.data.tokenizer import Tokenizer
from jaxclip.model import CLIP
from jaxclip.training.sharding import replicated, rows_of_process, shard_batch

_TEXTS_A_ROW = 4  # at least: a row of CLIP's has 77 tokens, a caption some 14
_PACKED_TOGETHER = 2**16  # texts: packing takes 1.5 kB for each


def _ignore(count: int) -> None:
    del count


def _read_ahead(load: Callable[[int], np.ndarray], batches: Iterable[Sequence[int]]) -> Iterator[np.ndarray]:
    """The loaded items of each batch, stacked; an item that stands in a batch several times is loaded once."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # threads suffice: Pillow decodes without the interpreter's lock
        waiting: collections.deque[tuple[Sequence[int], dict[int, Future]]] = collections.deque()
        try:
            for numbers in batches:
                waiting.append((numbers, {number: pool.submit(load, number) for number in dict.fromkeys(numbers)}))
                if len(waiting) == 2:
                    yield _stacked(*waiting.popleft())
            while waiting:
                yield _stacked(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _stacked(numbers: Sequence[int], futures: Mapping[int, Future]) -> np.ndarray:
    return np.stack([futures[number].result() for number in numbers])


def _rounded(count: int) -> int:
    """Rounded up by at most a quarter, so that splits of one benchmark share their program.

    Compiling another one, or only loading it from JAX's cache, takes longer than computing what is empty.
    """
    step = 2 ** max(0, count.bit_length() - 3)
    return -(-count // step) * step


def _power_of_two(count: int) -> int:
    """The next one from `count` (at least 1) on."""
    return 1 << (count - 1).bit_length()


@functools.lru_cache(maxsize=8)
def _compiled(model: CLIP, mesh: Mesh, method: str) -> Callable:
    """One tower as a program; equal models on equal meshes share it, so that it is compiled once."""
    function = functools.partial(model.apply, method=method)
    return jax.jit(function, out_shardings=replicated(mesh), compiler_options=compiler_options(mesh))


@dataclasses.dataclass(frozen=True)
class Encoders:
    """Both towers of one architecture on one mesh, compiled once and used with any parameters.

    Every process takes its part of each batch and gets all embeddings. `on_batch(items)` is called after each batch
    with the items done in it: for progress bars, and to stop early by raising.
    """

    model: CLIP
    mesh: Mesh
    batch_size: int = 256

    def _batch_for(self, count: int) -> int:
        """The batch size for `count` items, a multiple of the data shards.

        Few items get the next power of two instead of a mostly empty batch; the powers keep the shapes few.
        """
        shards = self.mesh.shape["data"]
        size = min(self.batch_size, _power_of_two(count))
        return -(-size // shards) * shards

    def images(
        self, params: dict, load: Callable[[int], np.ndarray], count: int, on_batch: Callable[[int], None] = _ignore
    ) -> np.ndarray:
        """Embeddings float32 [N, D] of the images `load(0)` … `load(count - 1)`, each float32 [S, S, 3].

        Images are loaded in threads, one for each core, and while the batch before them is encoded.
        """
        B, outputs = self._batch_for(count), []
        encode = _compiled(self.model, self.mesh, "encode_image")
        # The last batch repeats its last image: one shape, one program, the same count of steps everywhere.
        batches = [
            np.minimum(start + rows_of_process(self.mesh, B), count - 1).tolist() for start in range(0, count, B)
        ]
        with contextlib.closing(_read_ahead(load, batches)) as loaded:
            for start, images in zip(range(0, count, B), loaded, strict=True):
                batch = shard_batch(self.mesh, images)
                outputs.append(jax.device_get(encode({"params": params}, batch))[: count - start])
                on_batch(len(outputs[-1]))
        return np.concatenate(outputs)

    def texts(
        self, params: dict, tokenizer: Tokenizer, texts: Sequence[str], on_batch: Callable[[int], None] = _ignore
    ) -> np.ndarray:
        """Embeddings float32 [N, D] of texts, packed several to a row (exact, see `jaxclip.data.packing`).

        Texts are packed in lexicographic order, so that those which begin alike come into the same rows; of equal texts
        one is encoded.
        """
        return self._texts("encode_text", params, tokenizer, texts, on_batch)

    def text_layer_states(
        self, params: dict, tokenizer: Tokenizer, texts: Sequence[str], on_batch: Callable[[int], None] = _ignore
    ) -> np.ndarray:
        """The residual stream at end-of-text, before the first text layer and after each: [N, layers + 1, W]."""
        return self._texts("text_layer_states", params, tokenizer, texts, on_batch)

    def _texts(self, method: str, params: dict, tokenizer: Tokenizer, texts: Sequence[str], on_batch) -> np.ndarray:
        ids = [tuple(text) for text in tokenizer.ids(list(texts))]
        times = collections.Counter(ids)
        different = sorted(times)  # those that begin alike stand together
        embedded = None
        for start in range(0, len(different), _PACKED_TOGETHER):
            part = different[start : start + _PACKED_TOGETHER]
            for numbers, encoded in self._packed(method, params, pack(part, tokenizer.context_length)):
                if embedded is None:
                    embedded = np.empty((len(different), *encoded.shape[1:]), encoded.dtype)
                embedded[start + numbers] = encoded
                on_batch(sum(times[part[number]] for number in numbers))
        number_of = {text: number for number, text in enumerate(different)}
        return embedded[[number_of[text] for text in ids]]

    def _packed(
        self, method: str, params: dict, packed: dict[str, np.ndarray]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(numbers of the texts, what `method` gives for them) of each batch of packed texts."""
        shards = self.mesh.shape["data"]
        rows = min(_rounded(-(-rows_used(packed) // shards)), max(1, self.batch_size // _TEXTS_A_ROW // shards))
        encode, mine = _compiled(self.model, self.mesh, method), rows_of_process(self.mesh, shards)
        # Ends cost less than another program, so they may be many more than texts.
        for batch, numbers in in_batches(packed, rows, groups=shards, round_up=_power_of_two):
            local = {name: values[mine] for name, values in batch.items()}
            encoded = jax.device_get(encode({"params": params}, **shard_batch(self.mesh, local)))
            is_text = numbers.ravel() >= 0
            yield numbers.ravel()[is_text], encoded[is_text]
