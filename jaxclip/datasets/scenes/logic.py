"""The meaning of a sentence: a few logical forms, and whether one holds in a scene."""

from dataclasses import dataclass

from jaxclip.datasets.scenes.world import IMAGE_SIZE, Scene, Thing


@dataclass(frozen=True)
class Spec:
    """A description of an object; an attribute that is None is left open."""

    shape: str | None = None
    colour: str | None = None
    size: str | None = None

    def matches(self, thing: Thing) -> bool:
        """Whether the object has every attribute that the description names."""
        return (
            self.shape in (None, thing.shape)
            and self.colour in (None, thing.colour)
            and self.size in (None, thing.size)
        )


@dataclass(frozen=True)
class Exists:
    """Some object fits the description."""

    spec: Spec


@dataclass(frozen=True)
class Related:
    """Some object that fits `subject` lies left, right, above or below of another one that fits `other`."""

    subject: Spec
    name: str
    other: Spec


@dataclass(frozen=True)
class Placed:
    """Some object that fits the description lies in a part of the image: left, right, top, bottom or centre."""

    spec: Spec
    name: str


@dataclass(frozen=True)
class Not:
    """The form does not hold."""

    form: "Form"


@dataclass(frozen=True)
class All:
    """Every one of the forms holds."""

    forms: tuple["Form", ...]


Form = Exists | Related | Placed | Not | All

# Generous on purpose: "left" means left by any amount. Captions state a relation only where it is clear (world.py),
# so a caption stays true, and what we call false is false even to a lenient reader.
_RELATIONS = {
    "left": lambda a, b: a.x < b.x,
    "right": lambda a, b: a.x > b.x,
    "above": lambda a, b: a.y < b.y,
    "below": lambda a, b: a.y > b.y,
}
_PLACES = {
    "left": lambda a: a.x < IMAGE_SIZE / 2,
    "right": lambda a: a.x > IMAGE_SIZE / 2,
    "top": lambda a: a.y < IMAGE_SIZE / 2,
    "bottom": lambda a: a.y > IMAGE_SIZE / 2,
    "centre": lambda a: max(abs(a.x - IMAGE_SIZE / 2), abs(a.y - IMAGE_SIZE / 2)) < IMAGE_SIZE / 6,
}


def holds(form: Form, scene: Scene) -> bool:
    """Whether a logical form is true of a scene."""
    match form:
        case Exists(spec):
            return any(spec.matches(thing) for thing in scene.things)
        case Related(subject, name, other):
            return any(
                a is not b and _RELATIONS[name](a, b)
                for a in scene.things if subject.matches(a)
                for b in scene.things if other.matches(b)
            )  # fmt: skip
        case Placed(spec, name):
            return any(spec.matches(thing) and _PLACES[name](thing) for thing in scene.things)
        case Not(inner):
            return not holds(inner, scene)
        case All(forms):
            return all(holds(inner, scene) for inner in forms)
    raise TypeError(f"{type(form).__name__} is not a logical form")
