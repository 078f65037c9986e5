"""One endpoint: schemas where it takes them, and what a plain one answers."""

import asyncio
import datetime
import email.utils

import pytest
from faulty_endpoint import FaultyEndpoint

from jaxclip.generation.endpoint import Endpoint, Usage, _retry_after
from jaxclip.generation.errors import GenerateError, RowFailed
from jaxclip.generation.prompts import load_prompts

CAPTION = "A man rides a horse."


def ask(server: FaultyEndpoint, times: int = 1, api_key: str = "key-4711", **settings) -> tuple[list[str], Usage]:
    prompt = load_prompts(None)[0]["paraphrase"]
    usage = Usage()

    async def asked() -> list[str]:
        settings_used = {"temperature": 0.1, "timeout": 20.0, "tries": 2, "first_wait": 0.0} | settings
        endpoint = Endpoint(server.url, "m", api_key, **settings_used)
        try:
            return [
                await endpoint.ask(prompt.messages({"caption": CAPTION}), prompt.schema, usage) for _ in range(times)
            ]
        finally:
            await endpoint.close()

    return asyncio.run(asked()), usage


def test_an_endpoint_without_structured_output_is_asked_plainly():
    with FaultyEndpoint(structured=False).running() as server:
        answers, usage = ask(server, times=3)
    assert answers == ['{"text": "One can see a man rides a horse."}'] * 3
    assert len(server.requests) == 4  # the schema is tried once only
    assert (usage.prompt, usage.completion) == (30, 15)


def test_one_refusal_does_not_turn_structured_output_off():
    with FaultyEndpoint({CAPTION: ["ok", "refuse", "ok"]}).running() as server:
        with pytest.raises(RowFailed, match="content filter"):
            ask(server, times=2)
        assert len(server.requests) == 2  # nothing was sent again


def test_tries_are_counted():
    with FaultyEndpoint({CAPTION: ["broken", "broken", "broken", "ok"]}).running() as server:
        with pytest.raises(RowFailed) as caught:
            ask(server, tries=3)
        assert caught.value.reason == "server_error"
        assert len(server.requests) == 3


def test_a_password_in_the_url_is_hidden_in_whatever_the_server_repeats():
    with FaultyEndpoint({CAPTION: ["unauthorized"]}).running() as server:
        server.url = server.url.replace("http://", "http://someone:p%40ss%2Fword@")
        with pytest.raises(GenerateError, match="is the API key right") as caught:
            ask(server)
        (header,) = server.keys
    said = str(caught.value)
    assert header.startswith("Basic ") and header.removeprefix("Basic ") not in said and "REDACTED" in said
    assert not any(secret in said for secret in ("someone", "p%40ss", "p@ss/word"))


def test_a_dummy_key_is_not_cut_out_of_texts():
    """Local servers take any key, and people give them "x"; no word of an answer may suffer from that."""
    with FaultyEndpoint({CAPTION: ['{"text": "A man on an ox"}']}).running() as server:
        answers, _ = ask(server, api_key="x")
    assert answers == ['{"text": "A man on an ox"}']


@pytest.mark.parametrize("url", ["http://host/v1?key=secret4711", "https://me:secret4711@host/v1#secret4711"])
def test_a_key_in_the_url_is_refused_and_not_shown(url):
    with pytest.raises(GenerateError, match="found a query; API keys come from the environment") as caught:
        Endpoint(url, "m", None, temperature=0.0, timeout=1.0, tries=1)
    assert "secret4711" not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000/v1", "ftp://host/v1", "http://", "rules2", "me:secret4711@host/v1"])
def test_an_url_of_another_kind_is_refused(url):
    with pytest.raises(GenerateError, match="expected rules or http") as caught:
        Endpoint(url, "m", None, temperature=0.0, timeout=1.0, tries=1)
    assert "secret4711" not in str(caught.value)


def test_retry_after_is_seconds_or_a_date():
    def error(value: str | None) -> Exception:
        response = type("Response", (), {"headers": {} if value is None else {"retry-after": value}})
        return type("Error", (Exception,), {"response": response})()

    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=100)
    assert _retry_after(error("7")) == 7.0
    assert 97 < _retry_after(error(email.utils.format_datetime(soon))) <= 100
    assert _retry_after(error("-3")) == 0.0
    assert _retry_after(error("1e9")) == 600.0  # no server may stop us for a day
    assert _retry_after(error("nan")) is _retry_after(error("soon")) is _retry_after(error(None)) is None
