"""Inputs of the weights tests: real photographs and captions, and the tolerances that we promise."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxclip.data.preprocessing import decode_image, preprocess
from jaxclip.pretrained import Clip

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def photographs(count: int) -> list:
    """Photographs of shared/data/coco_tiny."""
    paths = sorted((DATA / "coco_tiny" / "images").glob("*.jpg"))[:count]
    if not paths:
        pytest.skip("no photographs: shared/data/coco_tiny is missing")
    return [decode_image(path.read_bytes(), path.name) for path in paths]


def captions(count: int) -> list[str]:
    """Captions of shared/data/coco_tiny."""
    path = DATA / "coco_tiny" / "annotations" / "captions_val2017.json"
    if not path.is_file():
        pytest.skip("no captions: shared/data/coco_tiny is missing")
    return [annotation["caption"] for annotation in json.loads(path.read_text())["annotations"][:count]]


def assert_agrees(clip: Clip, reference, count: int = 2) -> None:
    """Image and text embeddings agree to 1e-4 relative, similarity logits to 1e-3 absolute.

    Args:
      clip: ours.
      reference: (pixels [B, S, S, 3], token rows [N, L]) → normalised embeddings of both.
      count: how many photographs and captions.
    """
    images, texts = photographs(count), captions(count)
    pixels = np.stack([preprocess(image, clip.preprocessing) for image in images])
    found = clip.encode_image(images), clip.encode_text(texts)
    expected = reference(pixels, clip.tokenizer(texts))
    for ours, theirs in zip(found, expected, strict=True):
        assert np.linalg.norm(ours - theirs, axis=-1).max() < 1e-4
        # A tower that ignored its input would agree with itself, too.
        assert np.linalg.norm(theirs[0] - theirs[1]) > 1e-2
    logits = [clip.logit_scale * image @ text.T for image, text in (found, expected)]
    np.testing.assert_allclose(*logits, atol=1e-3, rtol=0)
