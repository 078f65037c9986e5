"""Position embeddings for another image size, against torch's antialiased bicubic (what OpenCLIP uses)."""

import dataclasses

import numpy as np
import pytest

from jaxclip.data.preprocessing import CLIP as CLIP_PREPROCESSING
from jaxclip.weights import Checkpoint, WeightsError, with_image_size
from jaxclip.weights.positions import resize_positions


@pytest.mark.parametrize(("old", "new"), [(7, 10), (16, 24), (24, 16), (7, 7), (9, 4)])
def test_agrees_with_torch(old, new):
    torch = pytest.importorskip("torch")
    positions = np.random.default_rng(0).standard_normal((1 + old**2, 12)).astype(np.float32)
    found = np.asarray(resize_positions(positions, (1 + new**2, 12)))
    grid = torch.from_numpy(positions[1:]).reshape(1, old, old, 12).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(grid, (new, new), mode="bicubic", antialias=True, align_corners=False)
    np.testing.assert_array_equal(found[0], positions[0])
    np.testing.assert_allclose(found[1:], resized[0].permute(1, 2, 0).reshape(-1, 12).numpy(), atol=1e-5)


def test_a_constant_stays_and_the_type_too():
    positions = np.full((1 + 4, 3), 0.25, np.float16)
    resized = resize_positions(positions, (1 + 25, 3))
    assert resized.shape == (26, 3) and resized.dtype == np.float16
    np.testing.assert_array_equal(np.asarray(resized), np.full((26, 3), 0.25, np.float16))


def test_everything_that_depends_on_the_size_follows(tiny_config, tiny_params, tiny_tokenizer):
    preprocessing = dataclasses.replace(CLIP_PREPROCESSING, size=16)
    checkpoint = with_image_size(Checkpoint(tiny_config, tiny_params, tiny_tokenizer, preprocessing), 32)
    assert checkpoint.config.vision.image_size == checkpoint.preprocessing.size == 32
    assert checkpoint.params["visual/positional_embedding"].shape == (1 + 64, 32)
    assert checkpoint.params["visual/proj"] is tiny_params["visual/proj"]
    with pytest.raises(WeightsError, match="--image_size=30: .*not a multiple of patch_size 4"):
        with_image_size(checkpoint, 30)
