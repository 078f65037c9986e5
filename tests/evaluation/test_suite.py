import json

import numpy as np
import pytest

from jaxclip.data.schema import TEXT_ROLES
from jaxclip.evaluation.scores import Score
from jaxclip.evaluation.suite import score_split, scores_document, similarities
from jaxclip.evaluation.zeroshot import ZeroShotInput


@pytest.fixture
def embeddings():
    """30 images, 60 records in two rounds over the images, every text role."""
    generator = np.random.default_rng(0)
    image = generator.normal(size=(30, 8)).astype(np.float32)
    roles = {role: generator.normal(size=(60, 8)).astype(np.float32) for role in TEXT_ROLES}
    for role in ("caption", "paraphrase", "absence"):
        roles[role] += 2 * np.concatenate([image, image])
    return {"image": image, **roles}


IMAGE_INDEX = np.concatenate([np.arange(30), np.arange(30)])


def normalised(rows):
    rows = np.asarray(rows, np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_every_role_gives_every_metric(embeddings):
    images = ZeroShotInput(np.eye(8)[:4], np.arange(4), np.eye(8)[:4], -np.eye(8)[:4])
    scores = score_split(embeddings, IMAGE_INDEX, {"cifar10": images})
    assert set(scores) == {
        "caption_to_image_r1", "caption_to_image_r5", "caption_to_image_r10",
        "image_to_caption_r1", "image_to_caption_r5", "image_to_caption_r10",
        "paraphrase_to_image_r1", "paraphrase_to_image_r5", "absence_to_image_r1",
        "original_over_negation", "paraphrase_over_negation", "original_over_hard_negative",
        "absence_accuracy", "minimal_absence_accuracy",
        "itt", "tot", "itt_hard", "tot_hard",
        "zeroshot_cifar10", "zeroshot_cifar10_negated", "zeroshot_cifar10_delta",
    }  # fmt: skip
    assert scores["caption_to_image_r1"].n == 60 and scores["image_to_caption_r1"].n == 30
    assert scores["zeroshot_cifar10_delta"] == Score(value=1.0, n=4, low=1.0, high=1.0)


def test_values_agree_with_plain_float64(embeddings):
    scores = score_split(embeddings, IMAGE_INDEX)
    unit = {role: normalised(rows) for role, rows in embeddings.items()}
    to_image = unit["caption"] @ unit["image"].T
    top5 = np.argsort(-to_image, axis=1)[:, :5]
    recall5 = np.mean([image in row for image, row in zip(IMAGE_INDEX, top5, strict=True)])
    assert scores["caption_to_image_r5"].value == pytest.approx(recall5)
    best_caption = np.argmax(to_image.T, axis=1)
    assert scores["image_to_caption_r1"].value == pytest.approx(np.mean(IMAGE_INDEX[best_caption] == np.arange(30)))
    image = unit["image"][IMAGE_INDEX]
    cos = {role: (image * unit[role]).sum(axis=1) for role in TEXT_ROLES}
    pairs = {
        "original_over_negation": ("caption", "negation"),
        "paraphrase_over_negation": ("paraphrase", "negation"),
        "original_over_hard_negative": ("caption", "hard_negative"),
        "absence_accuracy": ("absence", "false_absence"),
        "minimal_absence_accuracy": ("minimal_absence", "minimal_false_absence"),
    }
    for metric, (true_role, false_role) in pairs.items():
        assert scores[metric].value == pytest.approx(np.mean(cos[true_role] > cos[false_role]))
    itt_hard = (cos["caption"] > cos["hard_negative"]) & (cos["paraphrase"] > cos["hard_negative"])
    assert scores["itt_hard"].value == pytest.approx(itt_hard.mean())
    for role, found in similarities(embeddings, IMAGE_INDEX).items():
        np.testing.assert_allclose(found, cos[role], atol=1e-6)


def test_records_of_one_image_are_drawn_together():
    """Each of 30 images twice, with the same texts: as certain as 30 records, not as 60."""
    generator = np.random.default_rng(1)
    image = generator.normal(size=(30, 8)).astype(np.float32)
    roles = {role: image + 1.5 * generator.normal(size=(30, 8)).astype(np.float32) for role in TEXT_ROLES}
    once = score_split({"image": image, **roles})
    twice = score_split({"image": image, **{role: np.tile(rows, (2, 1)) for role, rows in roles.items()}}, IMAGE_INDEX)
    for metric in ("caption_to_image_r1", "paraphrase_to_image_r1", "original_over_negation", "itt", "tot"):
        assert twice[metric].n == 2 * once[metric].n == 60
        pairs = [(one.value, one.low, one.high) for one in (once[metric], twice[metric])]
        assert pairs[0] == pytest.approx(pairs[1]) and pairs[0][1] < pairs[0][2]


def test_roles_at_hand_decide_the_metrics(embeddings):
    few = {"image": embeddings["image"], "caption": embeddings["caption"][:30], "negation": embeddings["negation"][:30]}
    scores = score_split(few)
    assert "original_over_negation" in scores and not {"itt", "tot", "absence_accuracy"} & set(scores)


def test_images_without_a_record_are_distractors_only():
    images = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]])
    scores = score_split({"image": images, "caption": images[[1, 2]]}, np.array([1, 2]))
    assert scores["image_to_caption_r1"].n == 2 and scores["caption_to_image_r1"].value == 1.0
    closer_distractor = score_split({"image": images, "caption": images[[0, 2]]}, np.array([1, 2]))
    assert closer_distractor["caption_to_image_r1"].value == 0.5


def test_zeroshot_alone():
    inputs = ZeroShotInput(np.eye(3), np.arange(3), np.eye(3), np.eye(3))
    assert list(score_split({}, zeroshot={"pets": inputs})) == [
        "zeroshot_pets", "zeroshot_pets_negated", "zeroshot_pets_delta"
    ]  # fmt: skip


def test_embeddings_full_of_nan_score_zero(embeddings):
    scores = score_split({role: np.full_like(rows, np.nan) for role, rows in embeddings.items()}, IMAGE_INDEX)
    assert {score.value for score in scores.values()} == {0.0}


def test_document_has_the_form_of_scores_json_and_survives_the_round_trip(embeddings):
    scores = {"test": score_split(embeddings, IMAGE_INDEX)}
    document = scores_document({"base": scores, "final": scores})
    again = json.loads(json.dumps(document, allow_nan=False))
    assert again == document and list(document["checkpoints"]) == ["base", "final"]
    entry = again["checkpoints"]["final"]["test"]["itt"]
    assert Score(**entry) == scores["test"]["itt"] and set(entry) == {"value", "n", "low", "high"}


@pytest.mark.parametrize(
    ("embeddings", "image_index", "message"),
    [
        ({"image": np.ones((3, 4)), "captions": np.ones((3, 4))}, None, "found captions, image"),
        ({"caption": np.ones((3, 4))}, None, "need the role image"),
        ({"image": np.ones((3, 4)), "caption": np.ones((2, 4))}, None, r"caption .*\(2, 4\), expected \(3, 4\)"),
        ({"image": np.ones((3, 4)), "caption": np.ones((3, 5))}, None, r"caption .*\(3, 5\)"),
        ({"image": np.ones((3, 4)), "caption": np.ones((2, 4))}, np.array([0, 3]), "record 1 is 3"),
        ({"image": np.ones((3, 4)), "caption": np.ones((2, 4))}, np.array([0.0, 1.0]), "integers"),
        ({"image": np.ones(4)}, None, r"image .*\(4,\)"),
        ({"image": np.ones((3, 4))}, None, "nothing to score"),
        ({}, None, "nothing to score"),
    ],
)
def test_bad_input_is_refused(embeddings, image_index, message):
    with pytest.raises(ValueError, match=message):
        score_split(embeddings, image_index)
