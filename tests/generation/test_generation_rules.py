"""Texts by rules, against sentences written by hand, and on real captions where they are at hand."""

import asyncio
import json
from pathlib import Path

import pytest

from jaxclip.generation.captions import Caption, read_captions
from jaxclip.generation.english import mentions, negation_words
from jaxclip.generation.errors import GenerateError, RowFailed
from jaxclip.generation.objects import absence_sentence, exchange_object, read_instances
from jaxclip.generation.outcome import Outcome
from jaxclip.generation.rules.hard_negative import antonym_exchanged, colour_exchanged, object_exchanged
from jaxclip.generation.rules.negation import negations
from jaxclip.generation.rules.paraphrase import paraphrases
from jaxclip.generation.rules.rulebook import Rulebook
from jaxclip.generation.rules.wordnet import WordNet

COCO = Path(__file__).resolve().parents[3] / "shared" / "data" / "coco_tiny" / "annotations"
DEBIAN_WORDNET = Path("/usr/share/wordnet")


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        (
            "A man is in a kitchen making a pizza.",
            {
                "not after auxiliary": "A man is not in a kitchen making a pizza.",
                "not before participle": "A man is in a kitchen not making a pizza.",
            },
        ),
        ("A man riding a wave.", {"not before participle": "A man not riding a wave."}),
        ("There are two dogs on a bed.", {"there is no": "There are no dogs on a bed."}),
        ("A room with an old oven", {"without": "A room without an old oven"}),
        ("A room with several chairs", {"without": "A room without any chairs"}),
        ("A bus stops and a dog sits on it.", {"does not": "A bus stops and a dog does not sit on it."}),
        ("Two men ride on elephants", {"does not": "Two men do not ride on elephants"}),
        ("A red bus.", {"no subject": "No red bus."}),
        ("A large building near a parking lot", {"no subject": "No large building near a parking lot"}),
        ("Small dog.", {"no subject": "No small dog."}),
        ("In the park", {}),
        ("A bench covered with a towel", {"no subject": "No bench covered with a towel"}),
        ("A street without any cars", {"negation removed": "A street with cars"}),
        ("A room with no door", {"negation removed": "A room with a door"}),
        ("There are no people here", {"negation removed": "There are people here"}),
        ("A cat that isn't asleep", {"negation removed": "A cat that is asleep"}),
        ("A man not wearing a hat", {"negation removed": "A man wearing a hat"}),
        ("No dog and no cat", {}),  # taking out one of two would leave the other
    ],
)
def test_negations(caption, expected):
    assert negations(caption) == expected


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        (
            "A small dog next to a sofa.",
            {
                "synonyms": "A little dog beside a couch.",
                "there is": "There is a little dog beside a couch.",
                "this picture shows": "This picture shows a little dog beside a couch.",
            },
        ),
        ("The boy sits on a bench", {"place first": "On a bench, the boy sits"}),
        ("Two cats", {"there is": "There are two cats", "this picture shows": "This picture shows two cats"}),
        ("ATM booths", {"this picture shows": "This picture shows ATM booths"}),
        ("A boy eats an apple.", {"one can see": "One can see here that a boy eats an apple."}),
        ("A big airplane", None),
    ],
)
def test_paraphrases(caption, expected):
    found = paraphrases(caption)
    if expected is None:
        assert found["synonyms"] == "A large plane"
    else:
        assert {name: text for name, text in found.items() if name in expected} == expected
        assert set(found) <= {*expected, "place first"}


def test_exchanges():
    assert colour_exchanged("A white wine and a Red car", "s").startswith("A white wine and a ")
    assert " Red car" not in colour_exchanged("A white wine and a Red car", "s")
    assert colour_exchanged("A brown bear", "s") is None
    groups = {"dog": "animal", "elephant": "animal", "cup": "kitchen"}
    assert object_exchanged("A dog runs", ["dog"], ["cup", "elephant"], groups, "s") == "An elephant runs"
    assert object_exchanged("Two dogs run", ["dog"], ["elephant"], groups, "s") == "Two elephants run"
    assert object_exchanged("A cup", ["dog", "cup"], ["elephant"], groups, "s") is None


def test_the_false_twin_differs_in_the_object_alone():
    for seed in map(str, range(20)):
        true, false = (absence_sentence("A man.", name, seed) for name in ("umbrella", "dog"))
        assert mentions(true, "umbrella") and negation_words(true) and true.startswith("A man")
        assert exchange_object(true, "umbrella", "dog") == false
    assert exchange_object("no dogs and an apple", "dog", "knife") == "no knives and an apple"
    assert exchange_object("without an apple", "apple", "scissors") == "without scissors"


def write_instances(path: Path) -> Path:
    content = {
        "images": [{"id": number, "file_name": f"{number}.jpg"} for number in range(4)],
        "categories": [
            {"id": number, "name": name, "supercategory": group}
            for number, (name, group) in enumerate(
                [("dog", "animal"), ("person", "person"), ("couch", "furniture"), ("boat", "vehicle")]
            )
        ],
        # 0: dog, person; 1: dog, couch; 2: dog, couch; 3: nothing
        "annotations": [
            {"image_id": image, "category_id": category}
            for image, category in [(0, 0), (0, 1), (0, 0), (1, 0), (1, 2), (2, 0), (2, 2)]
        ],
    }
    path.write_text(json.dumps(content))
    return path


def test_instances(tmp_path):
    instances = read_instances([write_instances(tmp_path / "instances.json")])
    assert instances.categories_of("some/folder/0.jpg") == {"dog", "person"}
    assert instances.absent("0.jpg", "A dog") == ["couch", "boat"]  # couches are often with dogs, boats never
    assert instances.absent("0.jpg", "A dog on a sofa") == ["boat"]  # the annotators overlooked the sofa
    assert instances.categories_of("3.jpg") == frozenset()
    with pytest.raises(RowFailed, match="no_absent_object"):
        instances.categories_of("9.jpg")


def test_bad_instances_are_named(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('{"images": [], "annotations": []}')
    with pytest.raises(GenerateError, match="x.json: not COCO instances"):
        read_instances([path])


def made(rulebook: Rulebook, caption: Caption, *roles: str) -> Outcome:
    outcome = Outcome(caption)
    for role in roles:
        asyncio.run(rulebook.write(outcome, role, with_twin=True))
    return outcome


def test_rows_by_rules(tmp_path):
    rulebook = Rulebook(read_instances([write_instances(tmp_path / "instances.json")]), None)
    outcome = made(rulebook, Caption("1", "1.jpg", "A dog on a couch."), "paraphrase", "negation", "absence")
    assert set(outcome.texts) == {"paraphrase", "negation", "absence", "false_absence"}
    assert outcome.notes["absent_object"] in ("person", "boat") and outcome.notes["present_object"] in ("dog", "couch")
    with pytest.raises(RowFailed, match="no_present_object"):
        made(rulebook, Caption("3", "3.jpg", "An empty room."), "absence")
    with pytest.raises(RowFailed, match="no_rule"):
        made(rulebook, Caption("3", "3.jpg", "An empty room."), "hard_negative")


def write_wordnet(directory: Path) -> Path:
    """The format of wndb(5WN), with two adjectives, one noun with an antonym and one without."""
    directory.mkdir()
    licence = "  1 This software and database is provided ...  \n"

    def synsets(kind: str, rows: list[tuple[str, str]], pairs: dict[str, str]) -> None:
        # Two rounds: places are known once lines have their length.
        places = dict.fromkeys([name for name, _ in rows], 0)
        for _ in range(2):
            data = licence
            for name, others in rows:
                words = [name, *others.split()]
                pointers = [f"! {places[pairs[name]]:08d} {kind} 0101"] if name in pairs else []
                listed = " ".join(f"{word} 0" for word in words)
                places[name] = len(data)
                data += f"{places[name]:08d} 00 {kind} {len(words):02x} {listed} {len(pointers):03d} "
                data += " ".join([*pointers, "| a gloss with ! and words\n"])
        long = {"a": "adj", "n": "noun"}[kind]
        (directory / f"data.{long}").write_text(data)
        index = licence
        for name, others in rows:
            for word in (name, *others.split()):
                index += f"{word} {kind} 1 1 ! 1 0 {places[name]:08d}  \n"
        (directory / f"index.{long}").write_text(index)

    synsets("a", [("large", "big(a)"), ("small", "little")], {"large": "small", "small": "large"})
    synsets("n", [("man", "adult_male"), ("woman", ""), ("dog", "")], {"man": "woman", "woman": "man"})
    return directory


def test_wordnet(tmp_path):
    wordnet = WordNet(write_wordnet(tmp_path / "wordnet"))
    assert wordnet.antonyms("large") == ("small",) and wordnet.antonyms("Small") == ("large",)
    assert wordnet.antonyms("big") == ()  # in the synset of "large", but the antonym is of the other word
    assert wordnet.antonyms("man") == ("woman",) and wordnet.antonyms("dog") == wordnet.antonyms("xyz") == ()
    assert antonym_exchanged("The dog and a large man", wordnet) == "The dog and a small man"
    assert antonym_exchanged("a dog", wordnet) is None


def test_a_wordnet_that_is_none_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="apt install wordnet-base"):
        WordNet(tmp_path)
    directory = write_wordnet(tmp_path / "wordnet")
    (directory / "index.adj").write_text("large a 2 1 ! 2 0 00000001\n")
    with pytest.raises(GenerateError, match="index.adj: not an index of WordNet"):
        WordNet(directory)


@pytest.mark.skipif(not DEBIAN_WORDNET.is_dir(), reason="needs Debian's wordnet-base")
def test_the_wordnet_of_debian():
    wordnet = WordNet(DEBIAN_WORDNET)
    pairs = {"large": "small", "black": "white", "wet": "dry", "man": "woman", "boy": "girl", "happy": "unhappy"}
    assert {word: wordnet.antonyms(word)[0] for word in pairs} == pairs
    assert wordnet.antonyms("skateboard") == ()


@pytest.mark.skipif(not COCO.is_dir(), reason="needs the captions of shared/data")
def test_absences_are_true_of_the_annotations():
    captions, _ = read_captions(sorted(COCO.glob("captions_*.json")), {})
    instances = read_instances(sorted(COCO.glob("instances_*.json")))
    rulebook = Rulebook(instances, None)
    assert len(captions) == 500
    done = 0
    for caption in captions:
        try:
            outcome = made(rulebook, caption, "paraphrase", "negation", "absence")
        except RowFailed:
            continue
        done += 1
        there = instances.present[caption.image]
        assert outcome.notes["absent_object"] not in there and outcome.notes["present_object"] in there
        assert bool(negation_words(outcome.texts["negation"])) != bool(negation_words(caption.text))
    assert done > 450
