"""`python -m jaxclip.embed`: the arrays, and that nothing is skipped in silence."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxclip.data.preprocessing import CLIP, ImageError
from jaxclip.embed import EmbedError, check_output, embed, find_images, read_texts
from jaxclip.pretrained import Clip, save_directory

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def clip(tiny_config, tiny_params, tiny_tokenizer):
    return Clip(tiny_config, tiny_params, tiny_tokenizer, dataclasses.replace(CLIP, size=16))


@pytest.fixture
def photos(tmp_path):
    generator = np.random.default_rng(0)
    (tmp_path / "photos" / "more").mkdir(parents=True)
    for name in ("b.png", "a.JPG", "more/c.webp"):
        Image.fromarray(generator.integers(0, 256, (30, 20, 3), np.uint8)).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "jaxclip.embed", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_embeddings_are_those_of_the_model_in_the_order_of_names(clip, photos):
    paths = find_images(str(photos))
    assert [path.name for path in paths] == ["a.JPG", "b.png", "c.webp"]
    texts = ["two dogs", "no dogs"]
    arrays = embed(clip, paths, texts)
    images = [Image.open(path).convert("RGB") for path in paths]
    np.testing.assert_allclose(arrays["images"], clip.encode_image(images), atol=1e-6)
    np.testing.assert_allclose(arrays["texts"], clip.encode_text(texts), atol=1e-6)
    assert arrays["image_paths"].tolist() == [str(path) for path in paths]
    assert arrays["logit_scale"] == pytest.approx(clip.logit_scale)


def test_other_files_of_a_folder_are_named(photos, capsys):
    (photos / "more" / "notes.txt").write_text("dear")
    (photos / "linked").symlink_to(photos / "more")
    assert len(find_images(str(photos))) == 3
    said = capsys.readouterr().out
    assert "2 of 5 files" in said and "more/notes.txt" in said and "linked" in said


def test_a_link_to_nowhere_is_an_error(clip, photos):
    (photos / "d.png").symlink_to(photos / "deleted.png")
    with pytest.raises(ImageError, match=r"d\.png"):
        embed(clip, find_images(str(photos)), [])


def test_an_output_that_cannot_be_written_is_an_error_at_once(tmp_path):
    with pytest.raises(EmbedError, match="a directory, expected the name of a file"):
        check_output(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        check_output(tmp_path / "file" / "embeddings.npz")


def test_patterns(photos):
    assert [path.name for path in find_images(f"{photos}/*.png")] == ["b.png"]
    assert [path.name for path in find_images(f"{photos}/**/*.webp")] == ["c.webp"]
    for nothing in (f"{photos}/*.gif", f"{photos}/nowhere"):
        with pytest.raises(EmbedError, match="found no image"):
            find_images(nothing)


def test_a_bad_image_stops_or_is_left_out_and_said(clip, photos, capsys):
    whole = (photos / "b.png").read_bytes()
    (photos / "b.png").write_bytes(whole[: len(whole) // 2])
    paths = find_images(str(photos))
    with pytest.raises(ImageError, match=r"b\.png"):
        embed(clip, paths, [])
    arrays = embed(clip, paths, [], on_bad_image="skip")
    assert [Path(path).name for path in arrays["image_paths"]] == ["a.JPG", "c.webp"]
    assert arrays["images"].shape == (2, 16) and arrays["texts"].shape == (0, 16)
    alone = embed(clip, [path for path in paths if path.name != "b.png"], [])
    np.testing.assert_allclose(arrays["images"], alone["images"], atol=1e-6)
    assert capsys.readouterr().out.count("Skipped: ") == 1


def test_cut_texts_are_counted(clip, capsys):
    embed(clip, [], ["short", "long " * 50])
    assert "1 of 2 texts are longer than 24 tokens and were cut" in capsys.readouterr().out


def test_texts(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes("\ufefftwo dogs\r\nno dogs\n".encode())
    assert read_texts(path) == ["two dogs", "no dogs"]
    path.write_text("one\n\nthree\n")
    with pytest.raises(EmbedError, match=r"texts\.txt, line 2: blank"):
        read_texts(path)
    path.write_text("")
    with pytest.raises(EmbedError, match="found no text"):
        read_texts(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(EmbedError, match="not UTF-8"):
        read_texts(path)
    with pytest.raises(FileNotFoundError):
        read_texts(tmp_path / "nowhere.txt")


def test_command_line(clip, photos, tmp_path):
    save_directory(clip, tmp_path / "model")
    (tmp_path / "texts.txt").write_text("two dogs\nno dogs\n")
    output = tmp_path / "new" / "embeddings.npz"
    arguments = (f"--checkpoint={tmp_path}/model", f"--images={photos}", f"--texts={tmp_path}/texts.txt")
    done = command(*arguments, f"--output={output}")
    assert done.returncode == 0, done.stderr
    assert "3 images and 2 texts in 16 dimensions" in done.stdout and "100%" in done.stderr
    with np.load(output) as arrays:
        assert set(arrays) == {"images", "texts", "image_paths", "logit_scale"}
        assert arrays["images"].shape == (3, 16) and arrays["texts"].shape == (2, 16)
        assert arrays["images"].dtype == arrays["texts"].dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(arrays["images"], axis=-1), 1, rtol=1e-5)
    (photos / "b.png").write_bytes(b"")
    failed = command(*arguments, f"--output={tmp_path}/other.npz")
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert "Error: " in failed.stderr and "b.png: the image has no bytes" in failed.stderr
    assert not (tmp_path / "other.npz").exists()
    assert "expected --images, --texts or both" in command(arguments[0], f"--output={output}").stderr
