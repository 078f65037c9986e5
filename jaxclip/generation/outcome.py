"""What became of one caption."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxclip.generation.captions import Caption
from jaxclip.generation.endpoint import Usage


@dataclasses.dataclass
class Outcome:
    """One caption and what was written for it so far.

    Attributes:
        caption: where it started.
        texts: role → accepted text.
        refused: role → reasons for which texts were refused on the way.
        notes: how it was made, such as the absent object or the name of a rule.
        usage: tokens of this run.
        earlier: tokens of the tries before, where a failed row is tried again.
        role: the role that is being written; after a failure, the one that failed.
        reason: why the row failed, None where it has all its texts.
        detail: what was seen then.
    """

    caption: Caption
    texts: dict[str, str] = dataclasses.field(default_factory=dict)
    refused: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    notes: dict[str, Any] = dataclasses.field(default_factory=dict)
    usage: Usage = dataclasses.field(default_factory=Usage)
    earlier: Usage = dataclasses.field(default_factory=Usage)
    role: str | None = None
    reason: str | None = None
    detail: str = ""

    def row(self, made_by: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that is written. That of an accepted row is what the `triplets` builder reads."""
        row = {"id": self.caption.id, "image": self.caption.image, "caption": self.caption.text}
        trace = {
            "made_by": dict(made_by),
            "refused": self.refused,
            "notes": self.notes,
            "tokens": dataclasses.asdict(self.usage + self.earlier),
        }
        if self.reason is None:
            return row | self.texts | trace
        return (
            row | {"reason": self.reason, "role": self.role, "detail": self.detail[:300], "texts": self.texts} | trace
        )
