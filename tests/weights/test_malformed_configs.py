"""Every value of every description replaced by junk, one at a time: it is taken or it is one `WeightsError`."""

import copy
import json

import pytest

from jaxclip.data.preprocessing import CLIP
from jaxclip.model import VARIANTS
from jaxclip.weights import WeightsError, huggingface, open_clip

JUNK = (None, "x", "", -1, 0, 1.5, [], {}, [1, 2], {"a": 1}, True, float("nan"), float("inf"), 10**12)


def damaged(values):
    """Copies of nested JSON values, each with one of them replaced by junk, or gone."""

    def places(part):
        for key in part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ():
            yield (key,)
            yield from ((key, *place) for place in places(part[key]))

    for *outer, key in places(values):
        for junk in (*JUNK, "gone"):
            changed = copy.deepcopy(values)
            part = changed
            for step in outer:
                part = part[step]
            part[key] = junk
            if junk == "gone":
                del part[key]
            yield changed


def vit_values(tokenizer):
    return huggingface.config_values(VARIANTS["ViT-B/32"], tokenizer)


DESCRIPTIONS = {
    "config.json": (vit_values, huggingface.parse_config),
    "preprocessor_config.json": (lambda _: huggingface.preprocessor_values(CLIP), huggingface.parse_preprocessor),
    "open_clip_config.json": (
        lambda _: open_clip.config_values(VARIANTS["ViT-B/32"], CLIP, own_tokenizer=True),
        open_clip.parse_config,
    ),
    "ResNet's open_clip_config.json": (
        lambda _: open_clip.config_values(VARIANTS["RN50"], CLIP, own_tokenizer=False),
        open_clip.parse_config,
    ),
    "preprocess_cfg": (
        lambda _: {"preprocess_cfg": open_clip.config_values(VARIANTS["RN50"], CLIP, False)["preprocess_cfg"]},
        lambda path, values: open_clip.parse_preprocessing(path, values, 224),
    ),
}


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_junk_is_one_error_that_names_the_file(name, tiny_tokenizer):
    make_values, parse = DESCRIPTIONS[name]
    refused = 0
    for values in damaged(json.loads(json.dumps(make_values(tiny_tokenizer)))):
        try:
            parse(name, values)
        except WeightsError as error:
            assert str(error).startswith(f"{name}: ")
            refused += 1
    assert refused > 60
