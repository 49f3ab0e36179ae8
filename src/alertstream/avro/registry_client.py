"""Asks a schema registry, through Confluent's HTTP interface; each method asks once.

An answer is definite (it has that schema, or has no such id) or not (no answer, overloaded). The
latter is :class:`RegistryUnavailableError`: asking again may help.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from alertstream.avro.schema_tree import Schema
from alertstream.errors import RegistryError, SchemaError, UsageError
from alertstream.system.tls import client_context

CONNECT_TIMEOUT = READ_TIMEOUT = 5.0
"""Seconds until there is a connection, and without a byte of the answer."""
ANSWER_TIMEOUT = 15.0
"""Seconds until an answer is complete."""
MAX_RETRY_AFTER = 60.0
"""Seconds of a registry's Retry-After that are honoured."""
MAX_ANSWER = 4 * 1024 * 1024
"""Bytes; LSST's schemas have up to 60 kB."""
MAX_REDIRECTS = 5
MAX_REFERENCES = 100
READ_ONLY = 42205
"""Confluent's error code for writing to a read-only registry."""
MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"

_CHECK_LOGIN = "check --registry-username and --registry-password-file"

_Ask = Callable[..., Awaitable[Any]]


class RegistryUnavailableError(RegistryError):
    """No definite answer this time; ``pause``: the seconds that the registry asks to wait."""

    pause = 0.0


class RefusedError(RegistryError):
    """The registry refuses a request: each one, or only for this schema."""


class NotRegisteredError(SchemaError):
    """The registry has no such subject, version or id."""


class Registered(NamedTuple):
    """A schema's place in a registry."""

    subject: str
    version: int
    schema_id: int


class RegistryClient:
    """Asks one registry. Proxies are those of the environment.

    :param url: with a path if it has one: ``https://HOST/schema-registry``.
    :param ca_file: certificates to trust, PEM; None is the system's.
    :raises UsageError: the URL is not valid, or half of a login is missing.

    All methods raise :class:`RegistryError` if the registry cannot be reached, or did not answer
    as it should.
    """

    def __init__(
        self,
        url: str,
        username: str | None = None,
        password: str | None = None,
        ca_file: Path | None = None,
    ) -> None:
        self.url = _valid_url(url)
        self._kept: aiohttp.ClientSession | None = None
        self._username = username
        self._ca_file = ca_file
        self._headers = {"Accept": f"{MEDIA_TYPE}, application/json"}
        if username:
            if not password or ":" in username:
                what = "cannot contain a colon" if password else "needs a password"
                raise UsageError(f"the registry's user name {what}", todo=_CHECK_LOGIN)
            login = base64.b64encode(f"{username}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {login}"

    @asynccontextmanager
    async def connections(self) -> AsyncIterator[None]:
        """Keep connections open from one request to the next, also for concurrent requests."""
        async with self._connected() as self._kept:
            try:
                yield
            finally:
                self._kept = None

    async def schema(self, schema_id: int) -> tuple[Any, dict[str, Any]]:
        """Return the schema with this id, as JSON has it, and those that it refers to by name.

        :raises NotRegisteredError: there is none.
        :raises SchemaError: it is not an Avro schema.
        """
        async with self._session() as ask:
            answer = await ask("GET", "schemas", "ids", str(schema_id))
            schema, references = _schema_in(answer), dict[str, Any]()
            waiting = [*(answer.get("references") or ())]
            while waiting:
                each = waiting.pop()
                name, subject, version = each["name"], each["subject"], each["version"]
                if name in references:
                    continue
                if len(references) == MAX_REFERENCES:
                    raise SchemaError(f"it refers to more than {MAX_REFERENCES} others")
                answer = await ask("GET", "subjects", subject, "versions", str(version))
                references[name] = _schema_in(answer)
                waiting += answer.get("references") or ()
        return schema, references

    async def known_id(self, subject: str, schema: Schema) -> int | None:
        """Return the id of exactly this ``schema`` under ``subject``; None if it has none.

        :raises RegistryError: also if the registry may only be read: it is asked by a POST.
        """
        async with self._session() as ask:
            try:
                answer = await ask("POST", "subjects", subject, content=_content(schema))
            except NotRegisteredError:
                return None
            return int(answer["id"])

    async def register(self, subject: str, schema: Schema) -> int:
        """Return the id that ``schema`` gets under ``subject``, or has there.

        :raises SchemaError: the registry rejects it, as when it is not compatible.
        """
        async with self._session() as ask:
            path = ("subjects", subject, "versions")
            return int((await ask("POST", *path, content=_content(schema)))["id"])

    async def versions(self, subject: str) -> list[Registered]:
        """Return what the registry has under a subject, the newest version first."""
        async with self._session() as ask:
            try:
                found = await ask("GET", "subjects", subject, "versions")
            except NotRegisteredError:
                return []
            places = [await _place(ask, subject, each) for each in found]
        return sorted(places, key=lambda each: each.version, reverse=True)

    async def subjects(self) -> list[str]:
        """Return the names under which the registry has schemas."""
        async with self._session() as ask:
            return [str(each) for each in await ask("GET", "subjects")]

    async def registered(self) -> list[Registered]:
        """Return what the registry has, by subject and version."""
        found = []
        async with self._session() as ask:
            for subject in await ask("GET", "subjects"):
                for version in await ask("GET", "subjects", subject, "versions"):
                    found.append(await _place(ask, subject, version))
        return found

    def _connected(self) -> aiohttp.ClientSession:
        timeout = aiohttp.ClientTimeout(
            total=ANSWER_TIMEOUT, sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT
        )
        own = self._ca_file and client_context(self._ca_file, "--registry-ca-file")
        connector = aiohttp.TCPConnector(ssl=own or True)
        return aiohttp.ClientSession(connector=connector, timeout=timeout)

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[_Ask]:
        """Give a function that asks once and returns the answer's JSON; map errors to ours."""
        try:
            async with nullcontext(self._kept) if self._kept else self._connected() as session:
                yield partial(self._ask, session)
        except (TimeoutError, aiohttp.ClientError) as error:
            raise self._mapped(error) from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # The answer's JSON has another form than expected.
            raise self._not_a_registry("its answer is not that of a registry") from error

    async def _ask(
        self, session: aiohttp.ClientSession, method: str, *path: str, content: Any = None
    ) -> Any:
        url = URL("/".join([self.url, *(quote(each, safe="") for each in path)]), encoded=True)
        # aiohttp drops the login of a request, not of a session, at a redirect to another host.
        async with session.request(
            method,
            url,
            json=content,
            headers=self._headers,
            max_redirects=MAX_REDIRECTS,
            # With its own trust_env, a login and an entry in ~/.netrc are an error.
            proxy=None if proxy_bypass(url.authority) else getproxies().get(url.scheme),
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(65536):
                body += chunk
                if len(body) > MAX_ANSWER:
                    raise self._not_a_registry(f"its answer is larger than {MAX_ANSWER} bytes")
            return self._understood(response.status, response.headers, bytes(body))

    def _understood(self, status: int, headers: Mapping[str, str], body: bytes) -> Any:
        """Return an answer's JSON, or raise what it means."""
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        said = answer.get("message") if isinstance(answer, dict) else None
        why = f"{status}: {str(said)[:300]}" if said else str(status)
        if status in (408, 429) or status >= 500:
            raise self._unavailable(why, headers.get("Retry-After", ""))
        read_only = status == 405 or (said and answer.get("error_code") == READ_ONLY)
        if status in (401, 403) or read_only:
            user = self._username
            what = f"rejects the login of {user}" if user else "requires a login"
            what = f"the schema registry {'may only be read' if read_only else what} ({status})"
            kind = RegistryError if status == 401 else RefusedError
            raise kind(what, where=self.url, todo=_CHECK_LOGIN)
        # Only a registry sends such a code; a web server's missing page is not an unknown id.
        if status == 404 and said and str(answer.get("error_code")).startswith("404"):
            raise NotRegisteredError(str(said), where=self.url)
        if status in (409, 422) and said:
            todo = "alertstream schema check NEW OLD shows what old readers cannot read"
            raise SchemaError(f"the registry rejects the schema ({why})", where=self.url, todo=todo)
        if status >= 300 or answer is None:
            what = "" if answer else ", but not in JSON"
            kind = RefusedError if status == 400 else RegistryError
            raise self._not_a_registry(f"it answers {status}{what}", kind)
        return answer

    def _mapped(self, error: Exception) -> RegistryError:
        """Return our error for one of aiohttp's."""
        match error:
            case TimeoutError():
                return self._unavailable("no answer")
            case aiohttp.ClientSSLError():
                what = f"no secure connection to the schema registry ({error.os_error})"
                todo = "check --registry and --registry-ca-file"
                return RegistryError(what, where=self.url, todo=todo)
            case aiohttp.ClientConnectorError(errno=int(number)) if number > 0:
                return self._unavailable(os.strerror(number))
            case aiohttp.ClientConnectorError():
                return self._unavailable(str(error.strerror))
            case aiohttp.TooManyRedirects():
                return self._not_a_registry("it redirects without end")
            case aiohttp.ClientResponseError():
                return self._not_a_registry("it does not speak HTTP")
            case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
                return self._not_a_registry("it redirects to an invalid URL")
        return self._unavailable(str(error) or type(error).__name__)

    def _unavailable(self, why: str, retry_after: str = "") -> RegistryUnavailableError:
        error = RegistryUnavailableError(
            f"the schema registry cannot be reached ({why})",
            where=self.url,
            todo="check --registry, and try again",
        )
        error.pause = min(float(retry_after), MAX_RETRY_AFTER) if retry_after.isdecimal() else 0.0
        return error

    def _not_a_registry(self, why: str, kind: type[RegistryError] = RegistryError) -> RegistryError:
        return kind(
            f"this is not a schema registry ({why})",
            where=self.url,
            todo="check the URL: it may need a path, as in https://HOST/schema-registry",
        )


async def _place(ask: _Ask, subject: str, version: Any) -> Registered:
    answer = await ask("GET", "subjects", subject, "versions", str(version))
    return Registered(subject, int(version), int(answer["id"]))


def _content(schema: Schema) -> dict[str, str]:
    return {"schema": json.dumps(schema)}


def _schema_in(answer: Any) -> Any:
    """Return the schema that a registry's answer has as text."""
    kind = answer.get("schemaType") or "AVRO"
    if kind != "AVRO":
        raise SchemaError(f"it is not a schema of Avro, but of {kind}")
    try:
        return json.loads(answer["schema"])
    except ValueError as error:
        raise SchemaError("it is not valid JSON") from error


def _valid_url(url: str) -> str:
    """Return a registry's URL without a slash at its end.

    :raises UsageError: it is not valid; a password in it is not repeated.
    """
    if "@" in url:
        what = "the registry's URL must not contain a login"
        raise UsageError(what, todo="give --registry-username and --registry-password-file")
    with suppress(ValueError):
        parts = urlsplit(url.strip())
        is_whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        if is_whole and not (parts.query or parts.fragment):
            return url.strip().rstrip("/")
    todo = "give one as https://HOST or https://HOST/schema-registry"
    raise UsageError(f"{url!r} is not a valid registry URL", todo=todo)
