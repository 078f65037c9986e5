"""OpenCLIP's architectures and configs: the names against the library's own table, refusals by name."""

import dataclasses
import json

import pytest
from reference_libraries import open_clip_or_skip

from jaxclip.data.preprocessing import CLIP, SEMCLIP_RELEASED
from jaxclip.model import VARIANTS
from jaxclip.weights import WeightsError
from jaxclip.weights.open_clip import architecture, config_values, parse_config, parse_preprocessing

NAMES = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-L-14-336")
GELU_NAMES = ("ViT-H-14", "ViT-g-14", "ViT-bigG-14")


@pytest.mark.parametrize("name", [*NAMES, *(f"{name}-quickgelu" for name in NAMES), *GELU_NAMES, "ViT-H-14-quickgelu"])
def test_architectures_are_those_of_the_library(name):
    open_clip = open_clip_or_skip()
    assert architecture(name) == parse_config("config", {"model_cfg": open_clip.get_model_config(name)})


def test_head_widths_and_activations():
    assert architecture("ViT-B-32") == dataclasses.replace(VARIANTS["ViT-B/32"], activation="gelu")
    assert architecture("ViT-B/32-quickgelu") == VARIANTS["ViT-B/32"]
    heads = {name: architecture(name).vision for name in GELU_NAMES}
    assert [tower.width // tower.heads for tower in heads.values()] == [80, 88, 104]
    assert [int(tower.width * tower.mlp_ratio) for tower in heads.values()] == [5120, 6144, 8192]


def test_unknown_names_get_near_ones():
    with pytest.raises(WeightsError, match=r"--arch=ViT-B-33: .*near: ViT-B-32"):
        architecture("ViT-B-33")


@pytest.mark.parametrize("variant", VARIANTS)
def test_written_configs_are_read_back(variant):
    config = VARIANTS[variant]
    for preprocessing in (CLIP, SEMCLIP_RELEASED):
        values = json.loads(json.dumps(config_values(config, preprocessing, own_tokenizer=False)))
        assert parse_config("config", values) == config
        assert parse_preprocessing("config", values, preprocessing.size) == preprocessing


def model_values(**changes):
    values = config_values(VARIANTS["ViT-B/32"], CLIP, own_tokenizer=False)["model_cfg"]
    for key, value in changes.items():
        where, _, name = key.rpartition("__")
        (values[where] if where else values)[name] = value
    return {"model_cfg": values}


REFUSED = {
    "timm": ({"vision_cfg__timm_model_name": "vit_base_patch16"}, "timm's 'vit_base_patch16', expected CLIP's own"),
    "Hugging Face text": ({"text_cfg__hf_model_name": "roberta-base"}, "Hugging Face's 'roberta-base'"),
    "CoCa": ({"multimodal_cfg": {"layers": 12}}, "'multimodal_cfg' makes this a CoCa"),
    "attentional pool": ({"vision_cfg__attentional_pool": True}, "vision_cfg.attentional_pool is True"),
    "no ln_pre": ({"vision_cfg__no_ln_pre": True}, "vision_cfg.no_ln_pre is True"),
    "pooling": ({"text_cfg__pool_type": "last"}, "text_cfg.pool_type is 'last'"),
    "epsilon": ({"vision_cfg__norm_kwargs": {"eps": 1e-6}}, "vision_cfg.norm_kwargs is {'eps': 1e-06}"),
    "tanh GELU": ({"text_cfg__act_kwargs": {"approximate": "tanh"}}, "text_cfg.act_kwargs"),
    "bias": ({"init_logit_bias": -10}, "init_logit_bias is -10"),
    "unknown": ({"text_cfg__rotary": True}, "text_cfg.rotary is True, which CLIP's own towers don't have"),
    "size": ({"vision_cfg__image_size": 225}, "image_size 225 is not a multiple"),
    "type": ({"vision_cfg__width": "768"}, "width='768'"),
    "no sizes": ({"embed_dim": None}, "embed_dim is None"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_towers_are_refused_by_name(case):
    changes, message = REFUSED[case]
    with pytest.raises(WeightsError, match=f"open_clip_config.json: .*{message}"):
        parse_config("open_clip_config.json", model_values(**changes))


def test_neutral_settings_are_fine():
    idle = {
        "custom_text": True,
        "vision_cfg__patch_dropout": 0.5,
        "text_cfg__pool_type": "argmax",
        "text_cfg__act_kwargs": {},
    }
    values = model_values(**idle, vision_cfg__timm_pool="avg", vision_cfg__image_size=[224, 224])
    assert parse_config("config", values) == VARIANTS["ViT-B/32"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"resize_mode": "longest"}, "resize_mode is 'longest'"),
        ({"interpolation": "random"}, "interpolation is 'random'"),
        ({"mean": [0.5]}, "mean: expected three finite numbers"),
    ],
)
def test_other_preprocessing_is_refused(values, message):
    with pytest.raises(WeightsError, match=f"config: .*{message}"):
        parse_preprocessing("config", {"preprocess_cfg": values}, 224)
