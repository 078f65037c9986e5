"""Texts by language models: one writes, another judges, and on a no the judge writes again and is asked again."""

import base64
import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path

from jaxclip.data.preprocessing import ImageError, decode_image
from jaxclip.generation.captions import Caption
from jaxclip.generation.checks import REASONS, refusal
from jaxclip.generation.endpoint import Endpoint, Usage
from jaxclip.generation.english import mentions
from jaxclip.generation.errors import GenerateError, RowFailed
from jaxclip.generation.objects import Instances, choose, exchange_object
from jaxclip.generation.outcome import Outcome
from jaxclip.generation.parsing import read_objects, read_text, read_verdict
from jaxclip.generation.prompts import Prompt

# Absent objects that are tried for one caption before it is given up.
_OBJECTS_TRIED = 4
_IMAGE_SIDE = 512  # pixels of an image that a vision model is shown


@dataclasses.dataclass(frozen=True)
class Models:
    """Who writes, who judges and who looks, and what they are told.

    Attributes:
        generator: writes first.
        verifier: judges, and writes after a refusal.
        vision: is asked whether an object is in the image; None to trust the source of the objects.
        prompts: by name.
        rewrites: how often a refused text is written again.
        instances: what is in the images; None lets the generator propose objects.
        images: the image folder, for `vision`.
    """

    generator: Endpoint
    verifier: Endpoint
    vision: Endpoint | None
    prompts: Mapping[str, Prompt]
    rewrites: int
    instances: Instances | None
    images: Path | None

    # Written from the caption alone, so rows with the same caption share them.
    shared_roles = ("paraphrase", "negation", "hard_negative")

    async def write(self, outcome: Outcome, role: str, *, with_twin: bool) -> None:
        """Adds the text of one role to the outcome; with `with_twin`, an absence comes with its false twin.

        Raises:
            RowFailed: no text was accepted.
            GenerateError: an endpoint that cannot be used at all.
        """
        if role == "absence":
            await self._write_absence(outcome, with_twin=with_twin)
        else:
            outcome.texts[role] = await self._accepted(role, {"caption": outcome.caption.text}, outcome)

    async def close(self) -> None:
        """Gives all connections back."""
        for endpoint in filter(None, (self.generator, self.verifier, self.vision)):
            await endpoint.close()

    async def _accepted(self, role: str, values: Mapping[str, str], outcome: Outcome) -> str:
        prompt = self.prompts[role]
        messages, writer, reason = prompt.messages(values), self.generator, "unreadable"
        for _ in range(1 + self.rewrites):
            text, reason = await self._try(role, writer, messages, values, outcome)
            if reason is None:
                return text
            outcome.refused.setdefault(role, []).append(reason)
            # Only the last refusal is kept in the conversation: small models repeat what they see.
            messages = prompt.messages(values) + prompt.retry(text, REASONS[reason])
            writer = self.verifier
        raise RowFailed(reason, text)

    async def _try(
        self, role: str, writer: Endpoint, messages: list, values: Mapping[str, str], outcome: Outcome
    ) -> tuple[str, str | None]:
        """One text and why it is refused, None where it is accepted."""
        try:
            answer = await writer.ask(messages, self.prompts[role].schema, outcome.usage)
        except RowFailed as error:
            if error.reason != "cut_off":
                raise
            return "", "cut_off"
        text = read_text(answer)
        if text is None:
            return "", "unreadable"
        reason = refusal(role, text, caption=values["caption"], texts=outcome.texts, absent_object=values.get("object"))
        if reason is not None:
            return text, reason
        verdict = await self._verdict(
            self.verifier, self.prompts[f"verify_{role}"], {**values, "text": text}, outcome.usage
        )
        return text, {True: None, False: "verifier_no", None: "verifier_unclear"}[verdict]

    async def _verdict(
        self, judge: Endpoint, prompt: Prompt, values: Mapping[str, str], usage: Usage, picture: str | None = None
    ) -> bool | None:
        messages = prompt.messages(values)
        if picture is not None:
            question = {"type": "text", "text": messages[-1]["content"]}
            messages[-1]["content"] = [question, {"type": "image_url", "image_url": {"url": picture}}]
        try:
            return read_verdict(await judge.ask(messages, prompt.schema, usage))
        except RowFailed as error:
            if error.reason != "cut_off":
                raise
            return None

    async def _write_absence(self, outcome: Outcome, *, with_twin: bool) -> None:
        present, candidates = await self._objects(outcome)
        if with_twin and not present:
            raise RowFailed("no_present_object")
        name = await self._absent_object(candidates, outcome)
        values = {"caption": outcome.caption.text, "object": name}
        sentence = await self._accepted("absence", values, outcome)
        outcome.notes["absent_object"] = name
        outcome.texts["absence"] = sentence
        if with_twin:
            other = present[choose(f"{outcome.caption.id} present", len(present))]
            outcome.notes["present_object"] = other
            outcome.texts["false_absence"] = exchange_object(sentence, name, other)

    async def _objects(self, outcome: Outcome) -> tuple[list[str], list[str]]:
        """What is there and what isn't, the likeliest first: known from the instances, or proposed by the generator."""
        caption = outcome.caption
        if self.instances is not None:
            return sorted(self.instances.categories_of(caption.image)), self.instances.absent(
                caption.image, caption.text
            )
        prompt = self.prompts["objects"]
        answer = await self.generator.ask(prompt.messages({"caption": caption.text}), prompt.schema, outcome.usage)
        found = read_objects(answer)
        if found is None:
            raise RowFailed("unreadable", answer)
        present, absent = found
        named = [present.lower()] if present and mentions(caption.text, present) else []
        plain = [name.strip().lower() for name in absent if name.replace(" ", "").isalpha() and len(name) <= 30]
        return named, [name for name in plain if not mentions(caption.text, name)]

    async def _absent_object(self, candidates: list[str], outcome: Outcome) -> str:
        if self.vision is None:
            # Not always the likeliest, or all captions of an image would name the same.
            near = candidates[:_OBJECTS_TRIED]
            if not near:
                raise RowFailed("no_absent_object")
            return near[choose(f"{outcome.caption.id} absent", len(near))]
        picture = self._picture(outcome.caption)
        for name in candidates[:_OBJECTS_TRIED]:
            if (
                await self._verdict(self.vision, self.prompts["vision"], {"object": name}, outcome.usage, picture)
                is False
            ):
                return name
        raise RowFailed("no_absent_object", f"the vision model sees {', '.join(candidates[:_OBJECTS_TRIED])}")

    def _picture(self, caption: Caption) -> str:
        """The image as a data URL."""
        path = self.images / caption.image
        try:
            image = decode_image(path.read_bytes(), str(path)).convert("RGB")
        except (OSError, ImageError) as error:
            raise GenerateError(str(error)) from None
        image.thumbnail((_IMAGE_SIDE, _IMAGE_SIDE))
        content = io.BytesIO()
        image.save(content, "JPEG")
        return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"
