"""Names and layouts of parameters in the foreign formats, against the formats' published ones."""

import ml_dtypes
import numpy as np
import pytest

from jaxclip.model import VARIANTS, parameter_shapes
from jaxclip.weights.files import TensorFile
from jaxclip.weights.names import Rule, huggingface_rule, openai_rule, to_foreign, to_params
from jaxclip.weights.tensors import LazyTensor, WeightsError

# path, its axes → OpenAI's key, our axes as a permutation of theirs
OPENAI = {
    ("logit_scale", 0): ("logit_scale", None),
    ("text/token_embedding", 2): ("token_embedding.weight", None),
    ("text/positional_embedding", 2): ("positional_embedding", None),
    ("text/text_projection", 2): ("text_projection", None),
    ("text/ln_final/scale", 1): ("ln_final.weight", None),
    ("text/transformer/resblocks_11/attn/in_proj/kernel", 2): ("transformer.resblocks.11.attn.in_proj_weight", (1, 0)),
    ("text/transformer/resblocks_0/attn/in_proj/bias", 1): ("transformer.resblocks.0.attn.in_proj_bias", None),
    ("text/transformer/resblocks_0/mlp/c_fc/kernel", 2): ("transformer.resblocks.0.mlp.c_fc.weight", (1, 0)),
    ("visual/transformer/resblocks_3/ln_1/bias", 1): ("visual.transformer.resblocks.3.ln_1.bias", None),
    ("visual/conv1", 4): ("visual.conv1.weight", (2, 3, 1, 0)),
    ("visual/class_embedding", 1): ("visual.class_embedding", None),
    ("visual/proj", 2): ("visual.proj", None),
    ("visual/conv1/kernel", 4): ("visual.conv1.weight", (2, 3, 1, 0)),
    ("visual/bn3/scale", 1): ("visual.bn3.weight", None),
    ("visual/bn3/mean", 1): ("visual.bn3.running_mean", None),
    ("visual/layer3_22/bn1/var", 1): ("visual.layer3.22.bn1.running_var", None),
    ("visual/layer1_0/downsample_0/kernel", 4): ("visual.layer1.0.downsample.0.weight", (2, 3, 1, 0)),
    ("visual/layer1_0/downsample_1/bias", 1): ("visual.layer1.0.downsample.1.bias", None),
    ("visual/attnpool/q_proj/kernel", 2): ("visual.attnpool.q_proj.weight", (1, 0)),
    ("visual/attnpool/positional_embedding", 2): ("visual.attnpool.positional_embedding", None),
}
LAYER = "text_model.encoder.layers.7"
HUGGINGFACE = {
    ("logit_scale", 0): (("logit_scale",), None),
    ("text/token_embedding", 2): (("text_model.embeddings.token_embedding.weight",), None),
    ("text/positional_embedding", 2): (("text_model.embeddings.position_embedding.weight",), None),
    ("text/text_projection", 2): (("text_projection.weight",), (1, 0)),
    ("text/ln_final/bias", 1): (("text_model.final_layer_norm.bias",), None),
    ("text/transformer/resblocks_7/attn/in_proj/kernel", 2): (
        tuple(f"{LAYER}.self_attn.{part}_proj.weight" for part in "qkv"),
        (1, 0),
    ),
    ("text/transformer/resblocks_7/attn/in_proj/bias", 1): (
        tuple(f"{LAYER}.self_attn.{part}_proj.bias" for part in "qkv"),
        None,
    ),
    ("text/transformer/resblocks_7/attn/out_proj/kernel", 2): ((f"{LAYER}.self_attn.out_proj.weight",), (1, 0)),
    ("text/transformer/resblocks_7/mlp/c_proj/kernel", 2): ((f"{LAYER}.mlp.fc2.weight",), (1, 0)),
    ("text/transformer/resblocks_7/ln_2/scale", 1): ((f"{LAYER}.layer_norm2.weight",), None),
    ("visual/conv1", 4): (("vision_model.embeddings.patch_embedding.weight",), (2, 3, 1, 0)),
    ("visual/class_embedding", 1): (("vision_model.embeddings.class_embedding",), None),
    ("visual/positional_embedding", 2): (("vision_model.embeddings.position_embedding.weight",), None),
    ("visual/ln_pre/scale", 1): (("vision_model.pre_layrnorm.weight",), None),
    ("visual/ln_post/bias", 1): (("vision_model.post_layernorm.bias",), None),
    ("visual/proj", 2): (("visual_projection.weight",), (1, 0)),
}


@pytest.mark.parametrize("parameter", OPENAI)
def test_openai_rules(parameter):
    key, axes = OPENAI[parameter]
    assert openai_rule(*parameter) == Rule((key,), axes)


@pytest.mark.parametrize("parameter", HUGGINGFACE)
def test_huggingface_rules(parameter):
    assert huggingface_rule(*parameter) == Rule(*HUGGINGFACE[parameter])


def test_rules_permute_and_join_as_they_say():
    generator = np.random.default_rng(0)
    convolution = generator.standard_normal((5, 3, 2, 2))  # [out, in, height, width]
    ours = Rule(("weight",), (2, 3, 1, 0)).to_ours([convolution])
    assert ours.shape == (2, 2, 3, 5) and ours[1, 0, 2, 4] == convolution[4, 2, 1, 0]
    parts = [generator.standard_normal((4, 4)) for _ in range(3)]
    joined = Rule(("q", "k", "v"), (1, 0)).to_ours(parts)
    np.testing.assert_array_equal(joined, np.concatenate([part.T for part in parts], axis=1))


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(1, 3), (63, 64), (64, 63), (65, 2), (200, 129), (130, 3, 2, 2), (0, 5)])
def test_matrices_of_every_size_are_transposed_whole(shape, dtype):
    axes = (1, 0) if len(shape) == 2 else (2, 3, 1, 0)
    theirs = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    rule = Rule(("weight",), axes)
    ours = rule.to_ours([theirs])
    assert ours.flags.c_contiguous and ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs.transpose(axes))
    back = rule.to_foreign(ours)["weight"]
    assert back.flags.c_contiguous
    np.testing.assert_array_equal(back, theirs)


@pytest.mark.parametrize(
    ("variant", "rule_of"), [("ViT-B/32", huggingface_rule), ("ViT-B/32", openai_rule), ("RN50", openai_rule)]
)
def test_shapes_and_values_survive_a_round_trip(variant, rule_of):
    shapes = {
        path: tuple(min(size, 6) for size in shape) for path, shape in parameter_shapes(VARIANTS[variant]).items()
    }
    generator = np.random.default_rng(1)
    params = {path: generator.standard_normal(shape).astype(np.float16) for path, shape in shapes.items()}
    foreign = to_foreign(params, rule_of)
    assert all(tensor.flags.c_contiguous for tensor in foreign.values())
    for path, shape in shapes.items():
        rule = rule_of(path, len(shape))
        assert {foreign[key].shape for key in rule.keys} == {rule.foreign_shape(shape)}
    lazy = {key: LazyTensor(array.shape, array.dtype, lambda array=array: array) for key, array in foreign.items()}
    found = to_params(TensorFile(None, lazy), shapes, rule_of)
    assert set(found) == set(params)
    for path, parameter in params.items():
        np.testing.assert_array_equal(np.asarray(found[path]), parameter)
        assert found[path].shape == parameter.shape and found[path].dtype == parameter.dtype


def test_parts_of_different_types_are_refused():
    def tensor(dtype):
        return LazyTensor((2, 2), np.dtype(dtype), lambda: None)

    file = TensorFile("a.safetensors", {"a.q_proj.weight": tensor("float32"), "a.k_proj.weight": tensor("float16")})
    file.tensors["a.v_proj.weight"] = tensor("float32")

    def rule_of(path, ndim):
        return Rule(("a.q_proj.weight", "a.k_proj.weight", "a.v_proj.weight"), (1, 0))

    with pytest.raises(WeightsError, match=r"a\.safetensors: keys a\.q_proj.*found several types"):
        to_params(file, {"a/in_proj/kernel": (2, 6)}, rule_of)
