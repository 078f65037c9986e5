"""Model directories: bitwise round trip, one clear error for each damage; and what `load` gives to users."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from orbax.checkpoint import v1 as ocp
from PIL import Image

from jaxclip.checksums import write_checksums
from jaxclip.data.preprocessing import CLIP as CLIP_PREPROCESSING
from jaxclip.data.preprocessing import preprocess
from jaxclip.model import CLIP, VARIANTS
from jaxclip.pretrained import Clip, ModelDirectoryError, load, random_model, save_directory
from jaxclip.training.trainable import merge

TEXTS = ["", "a cat", "a red dog on a mat", "no sun", "word " * 30]


@pytest.fixture(scope="module")
def clip(tiny_config, tiny_params, tiny_tokenizer):
    preprocessing = dataclasses.replace(CLIP_PREPROCESSING, size=tiny_config.vision.image_size)
    return Clip(tiny_config, tiny_params, tiny_tokenizer, preprocessing)


@pytest.fixture(scope="module")
def saved(clip, tmp_path_factory):
    """A directory to read from only."""
    directory = tmp_path_factory.mktemp("models") / "clip"
    save_directory(clip, directory)
    return directory


@pytest.fixture
def copy(saved, tmp_path):
    """A directory to damage."""
    return Path(shutil.copytree(saved, tmp_path / "clip"))


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(0)
    sizes = [(16, 16), (40, 20), (17, 33), (64, 64), (16, 30)]
    return [generator.integers(0, 256, (height, width, 3), np.uint8) for width, height in sizes]


def test_round_trip_is_bitwise(clip, saved):
    loaded = load(saved)
    assert loaded.config == clip.config and loaded.preprocessing == clip.preprocessing
    assert loaded.params.keys() == clip.params.keys()
    for path, leaf in clip.params.items():
        assert loaded.params[path].dtype == np.float32
        np.testing.assert_array_equal(loaded.params[path].view(np.int32), leaf.view(np.int32), err_msg=path)
    np.testing.assert_array_equal(loaded.tokenizer(TEXTS), clip.tokenizer(TEXTS))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_widened_when_read(clip, tmp_path, dtype):
    save_directory(clip, tmp_path / dtype, dtype=dtype)
    loaded = load(tmp_path / dtype)
    for path, leaf in clip.params.items():
        assert loaded.params[path].dtype == np.float32
        np.testing.assert_array_equal(loaded.params[path], leaf.astype(jnp.dtype(dtype)).astype(np.float32))

    def size(directory):
        return sum(path.stat().st_size for path in (directory / "params").rglob("*") if path.is_file())

    full = sum(leaf.nbytes for leaf in clip.params.values())
    assert size(tmp_path / dtype) < 0.75 * full


def test_directories_of_earlier_versions_are_read(clip, copy):
    shutil.rmtree(copy / "params")
    arrays = {path: np.asarray(leaf) for path, leaf in clip.params.items()}
    ocp.save(epath.Path(copy / "params"), arrays)  # compressed, which is Orbax's default
    write_checksums(copy)
    loaded = load(copy)
    for path, leaf in clip.params.items():
        np.testing.assert_array_equal(loaded.params[path], leaf, err_msg=path)


def test_saving_again_replaces_and_leaves_nothing_beside(clip, copy):
    shifted = dataclasses.replace(clip, params=clip.params | {"logit_scale": np.float32(1)})
    save_directory(shifted, copy)
    assert load(copy).params["logit_scale"] == 1
    assert [path.name for path in copy.parent.iterdir()] == ["clip"]


def test_a_folder_that_is_no_model_is_not_replaced(clip, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.txt").write_text("years of work")
    with pytest.raises(ModelDirectoryError, match="thesis: exists and is not a model directory"):
        save_directory(clip, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter1.txt").exists()


def test_a_save_that_fails_leaves_the_old_model(clip, copy):
    with pytest.raises(TypeError):
        save_directory(clip, copy, dtype="no such type")
    np.testing.assert_array_equal(load(copy).params["visual/proj"], clip.params["visual/proj"])


def write_json(name, change):
    def damage(directory):
        values = json.loads((directory / name).read_text())
        change(values)
        (directory / name).write_text(json.dumps(values))

    return damage


def rewrite_params(change):
    def damage(directory):
        params = {path: np.asarray(leaf) for path, leaf in ocp.load(epath.Path(directory / "params")).items()}
        change(params)
        shutil.rmtree(directory / "params")
        ocp.save(epath.Path(directory / "params"), params)

    return damage


DAMAGES = {
    "no model.json": (lambda d: (d / "model.json").unlink(), "model.json: not found; a model directory has"),
    "no preprocessing.json": (lambda d: (d / "preprocessing.json").unlink(), "preprocessing.json: not found"),
    "no tokenizer.json": (lambda d: (d / "tokenizer.json").unlink(), "tokenizer.json: not found"),
    "no params": (lambda d: shutil.rmtree(d / "params"), "params: cannot be read as an Orbax checkpoint"),
    "empty params": (lambda d: [shutil.rmtree(d / "params"), (d / "params").mkdir()], "params: cannot be read"),
    "cut JSON": (lambda d: (d / "model.json").write_text('{"embed_dim": 1'), "model.json: not a JSON file"),
    "not UTF-8": (lambda d: (d / "model.json").write_bytes(b"\xff\xfe\x00"), "model.json: not a JSON file"),
    "a list": (lambda d: (d / "preprocessing.json").write_text("[1]"), "preprocessing.json: expected a JSON object"),
    "null": (lambda d: (d / "model.json").write_text("null"), "model.json: expected a JSON object, found NoneType"),
    "no tokenizer in the file": (lambda d: (d / "tokenizer.json").write_text("{}"), "tokenizer.json: not a tokenizer"),
    "unknown architecture key": (write_json("model.json", lambda v: v.update(depth=3)), "depth"),
    "missing architecture key": (write_json("model.json", lambda v: v["text"].pop("heads")), "heads"),
    "unknown preprocessing": (
        write_json("preprocessing.json", lambda v: v.update(interpolation="lanczos")),
        "interpolation: expected one of .*'lanczos'",
    ),
    "images of another size": (
        write_json("preprocessing.json", lambda v: v.update(size=32)),
        "preprocessing.json: size is 32, expected the image_size 16",
    ),
    "too few token embeddings": (
        write_json("model.json", lambda v: v["text"].update(vocabulary_size=500)),
        "tokenizer.json: has 514 tokens, expected at most the 500",
    ),
    "missing parameter": (
        rewrite_params(lambda params: params.pop("text/ln_final/bias")),
        "parameter 'text/ln_final/bias' is missing",
    ),
    "extra parameter": (
        rewrite_params(lambda params: params.update({"text/extra": np.ones(3, np.float32)})),
        "parameter 'text/extra' is not one of the model",
    ),
    "parameter of another shape": (
        rewrite_params(lambda params: params.update({"visual/proj": np.ones((16, 32), np.float32)})),
        r"parameter 'visual/proj' has shape \(16, 32\), expected \(32, 16\)",
    ),
    "parameter of another type": (
        rewrite_params(lambda params: params.update({"visual/proj": np.ones((32, 16), np.int32)})),
        "parameter 'visual/proj' is of type int32, expected one of float32",
    ),
    "absurd depth": (
        write_json("model.json", lambda v: v["text"].update(layers=10**9)),
        "text: layers is 1000000000, expected a positive int ≤ 1,000",
    ),
    "another depth": (
        write_json("model.json", lambda v: v["vision"].update(layers=1)),
        "'visual/transformer/resblocks_1/.*' is not one of the model",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_each_damage_is_one_error_that_names_it(copy, damage, message):
    (copy / "checksums.json").unlink()  # as one made by hand, or by an earlier version
    damage(copy)
    with pytest.raises(ModelDirectoryError, match=message) as caught:
        load(copy)
    assert str(copy) in str(caught.value)


def test_a_changed_byte_in_any_file_is_seen(saved, tmp_path):
    names = [path.relative_to(saved) for path in saved.rglob("*") if path.is_file() and path.stat().st_size]
    assert {"model.json", "preprocessing.json", "tokenizer.json"} < {str(name) for name in names}
    for number, name in enumerate(names):
        copy = Path(shutil.copytree(saved, tmp_path / str(number)))
        content = bytearray((copy / name).read_bytes())
        content[len(content) // 2] ^= 1
        (copy / name).write_bytes(content)
        with pytest.raises(ModelDirectoryError, match="is damaged"):
            load(copy)


def test_no_directory(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: no such file or directory"):
        load(tmp_path / "nowhere")


def test_texts_are_encoded_as_by_the_model_and_normalised(clip):
    found = clip.encode_text(TEXTS)
    assert found.dtype == np.float32 and found.shape == (5, 16)
    expected = CLIP(clip.config).apply({"params": merge(clip.params)}, clip.tokenizer(TEXTS), method="encode_text")
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, rtol=1e-6)


def test_images_are_encoded_as_by_the_model_and_normalised(clip, images):
    found = clip.encode_image([Image.fromarray(images[0]), *images[1:]])
    assert found.dtype == np.float32 and found.shape == (5, 16)
    pixels = np.stack([preprocess(image, clip.preprocessing) for image in images])
    expected = CLIP(clip.config).apply({"params": merge(clip.params)}, pixels, method="encode_image")
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_embeddings_do_not_depend_on_the_batch(clip, images):
    for encode, items in ((clip.encode_text, TEXTS), (clip.encode_image, images)):
        together = encode(items)
        np.testing.assert_allclose(np.concatenate([encode(items[:2]), encode(items[2:])]), together, atol=1e-6)
        np.testing.assert_allclose(encode(items[::-1])[::-1], together, atol=1e-6)


def test_an_image_that_is_not_read_yet_may_stand_in_the_list_many_times(clip, images, tmp_path):
    Image.fromarray(images[0]).resize((600, 400)).save(tmp_path / "image.png")
    with Image.open(tmp_path / "image.png") as image:
        found = clip.encode_image([image] * 30)
        expected = clip.encode_image([np.asarray(image)])
    np.testing.assert_allclose(found, np.repeat(expected, 30, axis=0), atol=1e-6)


def test_more_items_than_a_batch_holds(clip):
    texts = [f"text {number}" for number in range(300)]
    embeddings = clip.encode_text(texts)
    assert embeddings.shape == (300, 16)
    some = [0, 255, 256, 299]
    np.testing.assert_allclose(embeddings[some], clip.encode_text([texts[number] for number in some]), atol=1e-6)


def test_nothing_in_nothing_out(clip):
    assert clip.encode_text([]).shape == clip.encode_image([]).shape == (0, 16)


def test_one_text_instead_of_a_list_is_an_error(clip):
    with pytest.raises(TypeError, match="takes a list of texts, found the text 'a cat'"):
        clip.encode_text("a cat")


def test_logit_scale_is_the_factor(clip):
    assert clip.logit_scale == pytest.approx(np.exp(np.float64(clip.params["logit_scale"])))


def test_random_models_fit_their_tokenizer_and_are_repeatable(tiny_config, monkeypatch):
    text = dataclasses.replace(tiny_config.text, vocabulary_size=600)
    monkeypatch.setitem(VARIANTS, "tiny", dataclasses.replace(tiny_config, text=text))
    first, second = (random_model("tiny", 3, ["a red circle"]) for _ in range(2))
    assert all(np.array_equal(leaf, second.params[path]) for path, leaf in first.params.items())
    assert 514 < first.tokenizer.vocabulary_size < 600
    assert first.config.text.vocabulary_size == first.tokenizer.vocabulary_size
    assert first.params["text/token_embedding"].shape == (first.tokenizer.vocabulary_size, 32)
    assert first.preprocessing == dataclasses.replace(CLIP_PREPROCESSING, size=16)


def test_an_unknown_variant_is_an_error():
    with pytest.raises(ValueError, match="unknown model variant 'ViT-B32'; .*ViT-B/32"):
        random_model("ViT-B32", 0)
