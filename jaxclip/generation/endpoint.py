"""Asking an OpenAI-compatible chat endpoint, with retries, and without ever showing the API key.

The client is the `openai` library's. Its own retries are off, since they bound the time between two bytes only: a
server that sends a byte a minute would hold a row for ever.
"""

import asyncio
import base64
import dataclasses
import email.utils
import logging
import random
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from jaxclip.generation.errors import GenerateError, RowFailed

MAX_ANSWER_TOKENS = 200
_LONGEST_WAIT = 60.0  # seconds between two tries, where the endpoint asks for nothing else
_LONGEST_RETRY_AFTER = 600.0
_SHORTEST_SECRET = 6  # characters
_STRUCTURED_REFUSED = (400, 404, 415, 422, 501)
_RETRIED = {408: "timeout", 409: "server_error", 425: "server_error", 429: "rate_limit"}


@dataclasses.dataclass
class Usage:
    """Tokens that the endpoints counted."""

    prompt: int = 0
    completion: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.prompt + other.prompt, self.completion + other.completion)


class Endpoint:
    """One model behind a URL. To be used inside one event loop."""

    def __init__(
        self,
        base_url: str,
        model: str,
        api_key: str | None,
        *,
        temperature: float,
        timeout: float,
        tries: int,
        first_wait: float = 1.0,
    ):
        """Nothing is sent yet.

        Args:
            base_url: such as http://localhost:11434/v1.
            model: its name at the endpoint.
            api_key: None where the endpoint needs none.
            temperature: of sampling.
            timeout: seconds for a whole request.
            tries: number of times that a request is sent at most.
            first_wait: seconds before the second try; doubled for each further one.

        Raises:
            GenerateError: no http(s) URL, or one with a query.
        """
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise GenerateError(f"--base_url: expected rules or http(s)://HOST[:PORT]/v1, found {host(base_url)!r}")
        if parts.query or parts.fragment:
            raise GenerateError(
                f"--base_url: expected nothing behind {host(base_url)}, found a query; API keys come from the "
                "environment, see --help"
            )
        import openai  # here, because rules do without

        for name in ("openai", "httpx", "httpx2", "httpcore", "httpcore2"):  # at debug level they would log requests
            logging.getLogger(name).setLevel(logging.WARNING)
        self.model = model
        self._openai = openai
        self._host = host(base_url)
        self._secrets = _secrets(api_key, parts)
        self._temperature, self._timeout = temperature, timeout
        self._tries, self._first_wait = tries, first_wait
        self._structured: bool | None = None  # whether the endpoint takes a schema; None until one request has told
        self._client = openai.AsyncOpenAI(
            base_url=base_url, api_key=api_key or "none", timeout=timeout, max_retries=0, organization="", project=""
        )

    async def ask(self, messages: Sequence[Mapping[str, Any]], schema: Mapping[str, Any], usage: Usage) -> str:
        """The model's answer: JSON after `schema` where the endpoint can enforce that, else whatever the model wrote.

        Raises:
            RowFailed: no answer after all tries, or a refusal of this request.
            GenerateError: nobody answers at the URL, the API key is refused, or the model is unknown.
        """
        failure: RowFailed | GenerateError | None = None
        for attempt in range(self._tries):
            try:
                return self._content(await self._send(messages, schema), usage)
            except RowFailed as error:
                if error.reason not in ("timeout", "bad_response"):
                    raise
                failure, asked_wait = error, None
            except (self._openai.APIError, ValueError) as error:
                failure, asked_wait = self._judge(error), _retry_after(error)
            if attempt + 1 < self._tries:
                own_wait = min(_LONGEST_WAIT, self._first_wait * 2**attempt) * random.uniform(0.75, 1.25)
                await asyncio.sleep(own_wait if asked_wait is None else asked_wait)
        raise failure

    async def close(self) -> None:
        """Gives the connections back."""
        await self._client.close()

    async def _send(self, messages: Sequence[Mapping[str, Any]], schema: Mapping[str, Any]) -> Any:
        request = {
            "model": self.model,
            "messages": messages,
            "temperature": self._temperature,
            "max_tokens": MAX_ANSWER_TOKENS,
        }
        kind = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
        try:
            async with asyncio.timeout(self._timeout):
                if self._structured is not False:
                    try:
                        answer = await self._client.chat.completions.create(**request, response_format=kind)
                        self._structured = True
                        return answer
                    except self._openai.APIStatusError as error:
                        if self._structured or error.status_code not in _STRUCTURED_REFUSED:
                            raise
                answer = await self._client.chat.completions.create(**request)
                self._structured = False  # a plain request is answered, so it was the schema that was refused
                return answer
        except TimeoutError:
            raise RowFailed("timeout", f"{self.model}: {self._timeout:g} s") from None

    def _content(self, response: Any, usage: Usage) -> str:
        try:
            choice = response.choices[0]
            content = choice.message.content
            if response.usage is not None:
                usage.prompt += response.usage.prompt_tokens or 0
                usage.completion += response.usage.completion_tokens or 0
        except (AttributeError, IndexError, TypeError):
            raise RowFailed("bad_response", self._redacted(f"{self.model}: {response!r:.120}")) from None
        if choice.finish_reason == "length":
            raise RowFailed("cut_off", f"{self.model}: {MAX_ANSWER_TOKENS} tokens")
        return self._redacted(content or "")

    def _judge(self, error: Exception) -> RowFailed:
        """What an error means for the row, where another try may help; raises where none can."""
        if isinstance(error, self._openai.APITimeoutError):
            return RowFailed("timeout", f"{self.model}: {self._timeout:g} s")
        if isinstance(error, self._openai.APIStatusError):
            return self._judge_status(error)
        if isinstance(error, self._openai.APIConnectionError):
            if type(error.__cause__).__name__ == "ConnectError":
                return GenerateError(f"no connection to {self._host}: {self._redacted(str(error.__cause__))}")
            return RowFailed("connection", self._redacted(f"{self.model}: {error.__cause__!r:.200}"))
        return RowFailed("bad_response", self._redacted(f"{self.model}: {error!r:.200}"))

    def _judge_status(self, error: Any) -> RowFailed:
        status = error.status_code
        said = self._redacted(f"{self._host} answered HTTP {status}: {error.message:.300}")
        if status in (401, 403):
            raise GenerateError(f"{said}; is the API key right? See --help for the environment variable that holds it")
        if status == 404:
            raise GenerateError(f"{said}; expected a chat endpoint that has the model {self.model!r}")
        reason = _RETRIED.get(status) or ("server_error" if status >= 500 else None)
        if reason is None:
            raise RowFailed("bad_request", said)
        return RowFailed(reason, said)

    def _redacted(self, text: str) -> str:
        """Text from outside without the API key, which some servers repeat."""
        for secret in self._secrets:
            text = text.replace(secret, "REDACTED")
        return text


def host(base_url: str) -> str:
    """The URL without user, password and query, which may be secrets."""
    scheme, separator, rest = base_url.rpartition("://")
    return scheme + separator + re.split(r"[?#]", rest.rpartition("@")[2])[0]


def _secrets(api_key: str | None, parts: SplitResult) -> list[str]:
    """What must not be shown: the key, and user and password of the URL, in each form that a server may repeat.

    Shorter ones are dummies, such as "x" for a server that wants any key, and would be cut out of common words.
    """
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    basic = base64.b64encode(f"{user}:{password}".encode()).decode() if user else ""
    found = {api_key or "", parts.username or "", parts.password or "", user, password, basic}
    return sorted((secret for secret in found if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)


def _retry_after(error: Exception) -> float | None:
    """Seconds that an error response asks to wait (header Retry-After, a number or a date), None where it doesn't."""
    response = getattr(error, "response", None)
    header = response.headers.get("retry-after") if response is not None else None
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER) if seconds == seconds else None
