"""What is in each image, from COCO instances; which absent objects are plausible; and sentences about absences."""

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from jaxclip.generation.captions import coco_image_names, read_json
from jaxclip.generation.english import mentions, noun_pattern, plural, with_article
from jaxclip.generation.errors import GenerateError, RowFailed

# Other words that captions use for COCO's categories: an object that the caption names so is not called absent.
_OTHER_NAMES = {
    "person": "man woman boy girl child kid baby lady guy player rider skier surfer skateboarder crowd toddler someone "
    "people men women children pedestrian batter pitcher umpire catcher couple family friend",
    "bicycle": "bike", "motorcycle": "motorbike moped scooter", "airplane": "plane jet aircraft", "car": "taxi suv van",
    "boat": "ship canoe kayak sailboat ferry raft", "train": "locomotive subway", "truck": "pickup van",
    "bus": "trolley", "bird": "duck goose pigeon seagull parrot owl swan chicken flamingo", "cat": "kitten",
    "dog": "puppy", "cow": "cattle bull calf", "sheep": "lamb goat", "horse": "pony", "elephant": "calf",
    "couch": "sofa loveseat", "chair": "stool armchair seat", "tv": "television screen monitor",
    "potted plant": "plant flowerpot", "dining table": "table desk", "cell phone": "phone smartphone cellphone",
    "laptop": "computer", "sports ball": "ball football baseball basketball", "cup": "mug", "wine glass": "glass wine",
    "refrigerator": "fridge", "donut": "doughnut pastry", "hot dog": "sausage frankfurter", "handbag": "purse bag",
    "backpack": "bag", "suitcase": "luggage bag", "tie": "necktie", "book": "magazine", "bowl": "dish",
    "oven": "stove", "remote": "controller wii", "hair drier": "hairdryer blowdryer",
    "traffic light": "stoplight signal", "skis": "ski skier", "snowboard": "snowboarder", "surfboard": "board surfer",
    "skateboard": "skateboarder board", "kite": "parasail", "vase": "jar", "bed": "mattress bunk", "sink": "basin",
}  # fmt: skip

# The absence after the caption. Both twins of a caption use the same form, so that only the object tells them apart.
_FORMS = (
    "{caption}, without {an_object}.",
    "{caption}, with no {object} in sight.",
    "{caption}, and no {object} anywhere.",
    "{caption}, but not {an_object}.",
    "{caption}, with no {object} to be seen.",
)


@dataclasses.dataclass(frozen=True)
class Instances:
    """Object categories of images.

    Attributes:
        present: file name of the image → its categories.
        supercategories: category → its group, such as "animal".
        together: pair of categories → number of images that have both.
    """

    present: Mapping[str, frozenset[str]]
    supercategories: Mapping[str, str]
    together: Mapping[tuple[str, str], int]

    def categories_of(self, image: str) -> frozenset[str]:
        """The categories in an image.

        Raises:
            RowFailed: the instances do not know the image.
        """
        try:
            return self.present[PurePosixPath(image).name]
        except KeyError:
            raise RowFailed("no_absent_object", f"{image} is not in the instances file") from None

    def absent(self, image: str, caption: str) -> list[str]:
        """The categories that are neither in the image nor named by the caption, most plausible first.

        Plausible is what shares many images with the categories that are there.
        """
        here = self.categories_of(image)
        out = [name for name in self.supercategories if name not in here and not names_object(caption, name)]
        return sorted(out, key=lambda name: (-sum(self.together[name, other] for other in here), name))


def read_instances(paths: Sequence[Path]) -> Instances:
    """Reads COCO instances files (`images`, `annotations`, `categories`).

    Raises:
        FileNotFoundError: no such file.
        GenerateError: a file of another form.
    """
    present: dict[str, set[str]] = {}
    supercategories: dict[str, str] = {}
    for path in paths:
        content = read_json(path)
        names = coco_image_names(path, content)
        try:
            categories = {category["id"]: category["name"] for category in content["categories"]}
            supercategories |= {entry["name"]: entry.get("supercategory", "") for entry in content["categories"]}
            for name in names.values():
                present.setdefault(PurePosixPath(name).name, set())
            for annotation in content["annotations"]:
                image = PurePosixPath(names[annotation["image_id"]]).name
                present[image].add(categories[annotation["category_id"]])
        except (KeyError, TypeError) as error:
            raise GenerateError(
                f"{path}: not COCO instances (no {error}); expected categories and annotations"
            ) from None
    if not supercategories:
        raise GenerateError(f"{', '.join(map(str, paths))}: no categories")
    together = Counter((one, other) for found in present.values() for one in found for other in found if one != other)
    return Instances({name: frozenset(found) for name, found in present.items()}, supercategories, together)


def names_object(text: str, category: str) -> bool:
    """Whether a text names a category, in its own word or another."""
    return any(mentions(text, name) for name in (category, *_OTHER_NAMES.get(category, "").split()))


def choose(seed: str, count: int) -> int:
    """A number below `count` that depends on the seed alone: equal captions get equal choices, on every machine."""
    return int.from_bytes(hashlib.sha256(seed.encode("utf-8", "replace")).digest()[:8], "big") % count


def absence_sentence(caption: str, name: str, seed: str) -> str:
    """The caption and the absence of an object, in a form that the seed chooses."""
    form = _FORMS[choose(seed, len(_FORMS))]
    return form.format(caption=caption.rstrip(" .!;,"), object=name, an_object=with_article(name))


def exchange_object(sentence: str, name: str, other: str) -> str:
    """The sentence with another object in the place of `name`, with its article, singular or plural as it stood."""

    def exchanged(match: re.Match) -> str:
        if match["plural"] and plural(name) != name:
            return (match["before"] or "") + plural(other)
        return with_article(other) if match["before"] else other

    return re.sub(rf"(?P<before>\ban? )?{noun_pattern(name).pattern}", exchanged, sentence, flags=re.IGNORECASE)
