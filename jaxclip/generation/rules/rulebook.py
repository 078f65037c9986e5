"""One row by rules: for each role the sentences that rules make, and a choice among those that pass the checks."""

import dataclasses
from collections.abc import Mapping

from jaxclip.generation.checks import refusal
from jaxclip.generation.errors import RowFailed
from jaxclip.generation.objects import Instances, absence_sentence, choose
from jaxclip.generation.outcome import Outcome
from jaxclip.generation.rules.hard_negative import antonym_exchanged, colour_exchanged, object_exchanged
from jaxclip.generation.rules.negation import negations
from jaxclip.generation.rules.paraphrase import paraphrases
from jaxclip.generation.rules.wordnet import WordNet

# An absent object is drawn among this many that are likeliest.
_LIKELY_OBJECTS = 10


@dataclasses.dataclass(frozen=True)
class Rulebook:
    """Writes without any model.

    Attributes:
        instances: what is in the images: for absences and exchanged objects; None where that is not known.
        wordnet: for exchanged attributes; None to do without.
    """

    instances: Instances | None
    wordnet: WordNet | None

    # Rules cost nothing, and an exchanged object depends on the image.
    shared_roles = ()

    async def write(self, outcome: Outcome, role: str, *, with_twin: bool) -> None:
        """Adds the text of one role to the outcome; with `with_twin`, an absence comes with its false twin.

        Raises:
            RowFailed: no rule applies, or no sentence passes the checks.
        """
        if role == "absence":
            self._write_absence(outcome, with_twin=with_twin)
        else:
            outcome.texts[role] = self._chosen(role, outcome)

    async def close(self) -> None:
        """Nothing is open."""

    def _chosen(self, role: str, outcome: Outcome) -> str:
        """One of the sentences that pass, chosen by the caption alone."""
        caption, passing, refused = outcome.caption.text, {}, []
        for rule, text in self._candidates(role, outcome).items():
            reason = refusal(role, text, caption=caption, texts=outcome.texts)
            if reason is None:
                passing[rule] = text
            else:
                refused.append(reason)
        if refused:
            outcome.refused.setdefault(role, []).extend(refused)
        if not passing:
            raise RowFailed(refused[-1] if refused else "no_rule")
        rule = sorted(passing)[choose(f"{caption} {role}", len(passing))]
        outcome.notes[role] = rule
        return passing[rule]

    def _candidates(self, role: str, outcome: Outcome) -> Mapping[str, str]:
        caption = outcome.caption.text
        if role == "paraphrase":
            return paraphrases(caption)
        if role == "negation":
            return negations(caption)
        found = {"colour exchanged": colour_exchanged(caption, caption)}
        if self.instances is not None:
            present = sorted(self.instances.categories_of(outcome.caption.image))
            absent = self.instances.absent(outcome.caption.image, caption)
            groups = dict(self.instances.supercategories)
            found["object exchanged"] = object_exchanged(caption, present, absent, groups, outcome.caption.id)
        if self.wordnet is not None:
            found["antonym"] = antonym_exchanged(caption, self.wordnet)
        return {rule: text for rule, text in found.items() if text is not None}

    def _write_absence(self, outcome: Outcome, *, with_twin: bool) -> None:
        caption = outcome.caption
        absent = self.instances.absent(caption.image, caption.text)[:_LIKELY_OBJECTS]
        present = sorted(self.instances.categories_of(caption.image))
        if not absent:
            raise RowFailed("no_absent_object")
        if with_twin and not present:
            raise RowFailed("no_present_object")
        objects = {"absence": absent[choose(f"{caption.id} absent", len(absent))]}
        if with_twin:
            objects["false_absence"] = present[choose(f"{caption.id} present", len(present))]
        sentences = {role: absence_sentence(caption.text, name, caption.id) for role, name in objects.items()}
        for role, text in sentences.items():
            reason = refusal(role, text, caption=caption.text, texts=outcome.texts, absent_object=objects[role])
            if reason is not None:
                outcome.refused.setdefault(role, []).append(reason)
                raise RowFailed(reason, text)
        outcome.texts |= sentences
        outcome.notes |= {"absent_object": objects["absence"], "absence": "object added"}
        if with_twin:
            outcome.notes["present_object"] = objects["false_absence"]
