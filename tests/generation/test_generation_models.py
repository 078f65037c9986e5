"""Roles that models write: absences with proposed, annotated and looked-up objects."""

import asyncio
import json
from pathlib import Path

import pytest
from faulty_endpoint import FaultyEndpoint
from PIL import Image

from jaxclip.generation.captions import Caption
from jaxclip.generation.endpoint import Endpoint
from jaxclip.generation.errors import RowFailed
from jaxclip.generation.models import Models
from jaxclip.generation.objects import Instances
from jaxclip.generation.outcome import Outcome
from jaxclip.generation.prompts import load_prompts

CAPTION = Caption("1", "1.jpg", "A man rides a horse.")
INSTANCES = Instances(
    {"1.jpg": frozenset({"horse"})},
    {"horse": "animal", "person": "person", "boat": "vehicle", "kite": "sports"},
    {("boat", "horse"): 2, ("kite", "horse"): 1, ("person", "horse"): 9},
)


def write(server: FaultyEndpoint, role: str, *, looked: FaultyEndpoint | None = None, **settings) -> Outcome:
    outcome = Outcome(CAPTION, role=role)

    async def written() -> None:
        made = [
            Endpoint(one.url, "m", None, temperature=0.0, timeout=30.0, tries=1) if one else None
            for one in (server, server, looked)
        ]
        models = Models(*made, load_prompts(None)[0], 2, **{"instances": None, "images": None} | settings)
        try:
            await models.write(outcome, role, with_twin=True)
        finally:
            await models.close()

    asyncio.run(written())
    return outcome


def test_an_absence_with_a_proposed_object():
    with FaultyEndpoint().running() as server:
        outcome = write(server, "absence")
    assert outcome.texts == {
        "absence": "A man rides a horse, without a boat.",
        "false_absence": "A man rides a horse, without a man.",
    }
    assert [kind for _, _, kind in server.requests] == ["objects", "absence", "verdict"]


def test_a_proposal_that_the_caption_names_is_not_absent():
    proposal = json.dumps({"present": "camel", "absent": ["horse", "horses", "{evil}"]})
    endpoint = FaultyEndpoint({CAPTION.text: [proposal]})
    with endpoint.running(), pytest.raises(RowFailed, match="no_present_object"):  # no camel is named either
        write(endpoint, "absence")


def test_a_vision_model_has_the_last_word(tmp_path: Path):
    Image.new("RGB", (1200, 40), "red").save(tmp_path / "1.jpg")
    # The likeliest object is seen, the next one is not. "person" is named by the caption, as a man.
    absent = json.dumps({"text": "A man rides a horse, but no kite is there."})
    with (
        FaultyEndpoint({CAPTION.text: [absent]}).running() as server,
        FaultyEndpoint().running() as looked,
    ):
        looked_at = []

        def sees(kind: str, caption: str) -> str:
            looked_at.append(kind)
            return json.dumps({"verdict": "yes" if len(looked_at) == 1 else "no"})

        looked.answer = sees
        outcome = write(server, "absence", looked=looked, instances=INSTANCES, images=tmp_path)
    assert outcome.notes == {"absent_object": "kite", "present_object": "horse"}
    assert outcome.texts["false_absence"] == "A man rides a horse, but no horse is there."
    assert looked_at == ["verdict", "verdict"]


def test_refused_texts_are_written_again_by_the_verifier_and_counted():
    answers = [
        '{"text": "A man rides a horse"}',
        '{"text": "Sure: a man on a horse"}',
        '{"text": "A rider on a horse."}',
    ]
    with FaultyEndpoint({CAPTION.text: [*answers, "ok"]}).running() as server:
        outcome = write(server, "paraphrase")
    assert outcome.texts == {"paraphrase": "A rider on a horse."}
    assert outcome.refused == {"paraphrase": ["copy", "chat"]}


def test_a_verdict_of_no_is_a_refusal_and_so_is_an_unclear_one():
    with FaultyEndpoint().running() as server:
        answers = iter(["no", "well …", "no"])
        server.answer = lambda kind, caption: (
            json.dumps({"verdict": next(answers)}) if kind == "verdict" else '{"text": "A rider on a horse."}'
        )
        with pytest.raises(RowFailed, match="verifier_no"):
            write(server, "paraphrase")
    assert [kind for _, _, kind in server.requests] == ["paraphrase", "verdict"] * 3
