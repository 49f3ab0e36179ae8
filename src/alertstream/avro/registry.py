"""Schemas by id from a schema registry, through Confluent's HTTP interface, and kept on disk.

What a registry says is definite (it has that schema, or has no such id) or it is not (no answer,
overloaded): nothing is called undecodable for the latter, it is asked again.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import os
import random
import ssl
import tempfile
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from alertstream.avro.schemas import (
    Schema,
    Schemas,
    canonical_fingerprint,
    full_name,
    parsed,
    plain_schema,
    read_schema,
    with_references,
)
from alertstream.avro.wire import HEADER_SIZE, unpack
from alertstream.errors import RegistryError, SchemaError, UndecodableError, UsageError
from alertstream.system.cancellation import unless
from alertstream.system.tls import CERTIFICATE, read_pem

T = TypeVar("T")

CONNECT_TIMEOUT = READ_LIMIT = 5.0
"""Seconds until there is a connection, and without a byte of the answer."""
ANSWER_LIMIT = 15.0
"""Seconds until an answer is complete."""
LARGEST_ANSWER = 4 * 1024 * 1024
"""Bytes; LSST's schemas have up to 60 kB."""
MOST_REDIRECTS = 5
MOST_REFERENCES = 100
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0
"""Seconds until a registry that is not available is asked again; the pause doubles each time."""
LONGEST_RETRY = 60.0
"""Seconds of a registry's Retry-After that are honoured."""
PATIENCE = 8.0
"""Seconds for which a command that ends by itself goes on asking."""
UNKNOWN_FOR = 30.0
"""Seconds until an id that the registry did not know is asked for again."""
MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"

Notice = Callable[[str], None]
_Ask = Callable[..., Awaitable[Any]]


class _Unavailable(RegistryError):
    """No answer that counts, this time; ``pause`` are the seconds that the registry asks for."""

    pause = 0.0


class _NotFound(SchemaError):
    """The registry has no such subject, version or id."""


@dataclass(frozen=True)
class Registered:
    """A schema's place in a registry."""

    subject: str
    version: int
    schema_id: int


@dataclass(frozen=True)
class Registry:
    """How to reach a schema registry.

    :param url: its address, with a path if it has one: ``https://HOST/schema-registry``.
    :param ca_file: certificates to trust, PEM; None is the system's.
    :raises UsageError: the address cannot be meant, or half of a login is missing.
    """

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: Path | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _checked(self.url))
        if self.username and not self.password:
            raise UsageError(
                "the registry's user name needs a password", todo="give --registry-password-file"
            )

    async def schema(self, schema_id: int) -> Schema:
        """Return the parsed schema with this id, with those that it refers to put in.

        :raises SchemaError: the registry has none, or it is no Avro schema.
        :raises RegistryError: the registry cannot be reached, or did not answer as it should.
        """
        async with self._session() as ask:
            try:
                answer = await ask("GET", "schemas", "ids", str(schema_id))
                schema = self._schema_text(answer)
                references = await self._references(ask, answer)
                return parsed(with_references(schema, references) if references else schema)
            except _NotFound as error:
                what = f"schema id {schema_id} is unknown to the registry"
                raise SchemaError(what, where=self.url) from error
            except (SchemaError, RecursionError) as error:
                why = error.what if isinstance(error, SchemaError) else "nested too deeply"
                what = f"the registry's schema id {schema_id} cannot be used: {why}"
                raise SchemaError(what, where=self.url) from error

    async def register(self, subject: str, schema: Schema) -> int:
        """Return the id that ``schema`` has under ``subject``; it gets one if it has none yet.

        :raises SchemaError: the registry does not take it, as when it is not compatible.
        :raises RegistryError: as for :meth:`schema`.
        """
        content = {"schema": json.dumps(plain_schema(schema))}
        async with self._session() as ask:
            try:
                answer = await ask("POST", "subjects", subject, content=content)
            except _NotFound:
                answer = await ask("POST", "subjects", subject, "versions", content=content)
        return self._member(answer, "id", int)

    async def subjects(self) -> list[str]:
        """Return the names under which the registry has schemas.

        :raises RegistryError: as for :meth:`schema`.
        """
        async with self._session() as ask:
            return list(map(str, self._of_kind(await ask("GET", "subjects"), list)))

    async def registered(self) -> list[Registered]:
        """Return what the registry has, by subject and version.

        :raises RegistryError: as for :meth:`schema`.
        """
        found = []
        async with self._session() as ask:
            for subject in self._of_kind(await ask("GET", "subjects"), list):
                versions = await ask("GET", "subjects", str(subject), "versions")
                for version in self._of_kind(versions, list):
                    path = ("subjects", str(subject), "versions", str(version))
                    schema_id = self._member(await ask("GET", *path), "id", int)
                    found.append(Registered(str(subject), int(version), schema_id))
        return found

    async def _references(self, ask: _Ask, answer: Any) -> dict[str, Any]:
        """Return the schemas that an answer refers to, by name, and those that these refer to."""
        found: dict[str, Any] = {}
        waiting = list(self._of_kind(answer.get("references") or [], list))
        while waiting:
            each = waiting.pop()
            name = self._member(each, "name", str)
            if name in found:
                continue
            if len(found) == MOST_REFERENCES:
                raise SchemaError(f"it refers to more than {MOST_REFERENCES} others")
            subject, version = self._member(each, "subject", str), each.get("version")
            referred = await ask("GET", "subjects", subject, "versions", str(version))
            found[name] = self._schema_text(referred)
            waiting += self._of_kind(referred.get("references") or [], list)
        return found

    def _schema_text(self, answer: Any) -> Any:
        kind = self._of_kind(answer, dict).get("schemaType") or "AVRO"
        if kind != "AVRO":
            raise SchemaError(f"it is not of Avro but of {kind}")
        try:
            return json.loads(self._member(answer, "schema", str))
        except ValueError as error:
            raise SchemaError("it is no JSON") from error

    def _member(self, answer: Any, name: str, kind: type[T]) -> T:
        return self._of_kind(self._of_kind(answer, dict).get(name), kind)

    def _of_kind(self, answer: Any, kind: type[T]) -> T:
        if not isinstance(answer, kind):
            raise self._no_registry("its answer is not that of a registry")
        return answer

    def _no_registry(self, why: str) -> RegistryError:
        return RegistryError(
            f"this is no schema registry ({why})",
            where=self.url,
            todo="check the registry's address: it may need a path, as https://HOST/schema-registry",
        )

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[_Ask]:
        """Give a function that asks the registry, once, and returns the answer's JSON."""
        limits = aiohttp.ClientTimeout(
            total=ANSWER_LIMIT, sock_connect=CONNECT_TIMEOUT, sock_read=READ_LIMIT
        )
        connector = aiohttp.TCPConnector(ssl=self._trust())
        async with aiohttp.ClientSession(connector=connector, timeout=limits) as session:

            async def ask(method: str, *path: str, content: Any = None) -> Any:
                with self._mapped_errors():
                    return await self._ask(session, method, path, content)

            yield ask

    def _trust(self) -> ssl.SSLContext | bool:
        if self.ca_file is None:
            return True
        read_pem(self.ca_file, CERTIFICATE, "--registry-ca-file")
        try:
            return ssl.create_default_context(cafile=self.ca_file)
        except ssl.SSLError as error:
            raise RegistryError(
                f"the certificate in the file is damaged ({error.reason})",
                where=str(self.ca_file),
                todo="check --registry-ca-file",
            ) from error

    async def _ask(
        self, session: aiohttp.ClientSession, method: str, path: Sequence[str], content: Any
    ) -> Any:
        url = "/".join([self.url, *(quote(each, safe="") for each in path)])
        # Not in the session: where a redirect leads to another host, the login stays behind.
        async with session.request(
            method,
            URL(url, encoded=True),
            json=content,
            headers=self._headers(),
            max_redirects=MOST_REDIRECTS,
            proxy=_proxy(self.url),
        ) as response:
            body = bytearray()
            async for chunk in response.content.iter_chunked(65536):
                body += chunk
                if len(body) > LARGEST_ANSWER:
                    raise self._no_registry(f"its answer is larger than {LARGEST_ANSWER} bytes")
            return self._understood(response.status, response.headers, bytes(body))

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": f"{MEDIA_TYPE}, application/json"}
        if self.username:
            login = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
            headers["Authorization"] = f"Basic {login}"
        return headers

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
        if status in (401, 403):
            raise self._login_refused(status)
        # Only a registry gives such a code: a page that is missing is no id that is unknown.
        if status == 404 and said and str(answer.get("error_code")).startswith("404"):
            raise _NotFound(str(said), where=self.url)
        if status in (409, 422) and said:
            raise SchemaError(
                f"the registry refuses the schema ({why})",
                where=self.url,
                todo="alertstream schema check NEW OLD says what old readers cannot read",
            )
        if status >= 300 or answer is None:
            raise self._no_registry(f"it answers {status}" + ("" if answer else ", and no JSON"))
        return answer

    def _unavailable(self, why: str, retry_after: str = "") -> _Unavailable:
        error = _Unavailable(
            f"the schema registry cannot be reached ({why})",
            where=self.url,
            todo="check --registry, and try again",
        )
        error.pause = min(float(retry_after), LONGEST_RETRY) if retry_after.isdecimal() else 0.0
        return error

    def _login_refused(self, status: int) -> RegistryError:
        if self.username is None:
            what = f"the schema registry wants a login for this ({status})"
        else:
            what = f"the schema registry rejects the login of {self.username} ({status})"
        todo = "check --registry-username and --registry-password-file"
        return RegistryError(what, where=self.url, todo=todo)

    @contextmanager
    def _mapped_errors(self) -> Iterator[None]:
        """Turn what aiohttp raises inside the context into our errors."""
        try:
            yield
        except TimeoutError as error:
            raise self._unavailable("no answer") from error
        except aiohttp.ClientSSLError as error:
            raise RegistryError(
                f"no secure connection to the schema registry ({error.os_error})",
                where=self.url,
                todo="check --registry and --registry-ca-file",
            ) from error
        except aiohttp.ClientConnectorError as error:
            known = isinstance(error.errno, int) and error.errno > 0
            reason = os.strerror(error.errno or 0) if known else error.strerror
            raise self._unavailable(str(reason)) from error
        except aiohttp.TooManyRedirects as error:
            raise self._no_registry("it redirects without end") from error
        except aiohttp.ClientResponseError as error:
            raise self._no_registry("it does not speak HTTP") from error
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            raise self._no_registry("it redirects to what is no address") from error
        except aiohttp.ClientError as error:
            raise self._unavailable(str(error) or type(error).__name__) from error


def _checked(url: str) -> str:
    """Return a registry's address without a slash at its end.

    :raises UsageError: it is none; one with a password in it is not repeated.
    """
    todo = "give one as https://HOST or https://HOST/schema-registry"
    try:
        parts = urlsplit(url.strip())
        good = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1)
    except ValueError:
        good = False
    else:
        if "@" in url:
            raise UsageError(
                "a login does not belong into the registry's address",
                todo="give --registry-username and --registry-password-file",
            )
    if not good or parts.query or parts.fragment:
        raise UsageError(f"{url.rpartition('@')[2]!r} is no address of a registry", todo=todo)
    return url.strip().rstrip("/")


def _proxy(url: str) -> str | None:
    """Return the proxy that the environment or the system sets for an address."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.netloc) else getproxies().get(parts.scheme)


class RegistrySchemas(Schemas):
    """Schemas by id as the registry says; memory and disk are asked first.

    An id that the registry definitely does not have is looked up in ``folders``, and nowhere
    else: LSST's rule for ids is not the registry's.

    In an event loop, :meth:`ready` looks up what is needed; outside, each method does so itself.

    :param cache: where to keep schemas, by registry and id, or None; it need not be there, and
        what is damaged in it is fetched again.
    """

    def __init__(
        self, registry: Registry, folders: Sequence[Path] = (), cache: Path | None = None
    ) -> None:
        super().__init__(folders)
        self._folders = tuple(folders)
        self.known_in_advance = False
        self.registry = registry
        self._cache = cache and cache / quote(registry.url.partition("://")[2], safe="")
        self._unknown: dict[int, tuple[str, float]] = {}
        self._looked_up: set[bytes] = set()
        self._registered: dict[tuple[str, str], int] = {}
        self._turn = asyncio.Lock()

    def by_id(self, schema_id: int) -> Schema:
        """Return the parsed schema with this id.

        :raises SchemaError: there is none, or it is no Avro schema.
        :raises RegistryError: the registry cannot be reached, or did not answer as it should.
        """
        if schema_id not in self._parsed and schema_id not in self._unknown:
            _now(lambda: self._look_up(schema_id))
        if schema_id in self._parsed:
            return self._parsed[schema_id]
        raise SchemaError(self._unknown[schema_id][0], where=self.registry.url)

    def has(self, schema_id: int, schema: Schema) -> bool:
        """Return whether the registry's ``schema_id`` reads the bytes that ``schema`` wrote."""
        try:
            known = self.by_id(schema_id)
        except SchemaError:
            return False
        return canonical_fingerprint(known) == canonical_fingerprint(schema)

    def id_for(self, schema: Schema, subject: str | None = None, stated: int | None = None) -> int:
        """Return the registry's id for a schema, which is registered there if it has none yet.

        :param subject: under which subject; None is the schema's full name.
        :param stated: of no account: the registry says what the id is.
        :raises SchemaError: the registry does not take it.
        :raises RegistryError: the registry cannot be reached, or did not answer as it should.
        """
        key = subject or full_name(schema), canonical_fingerprint(schema)
        if key not in self._registered:
            schema_id = _now(lambda: self.registry.register(key[0], schema))
            # What is known of the id may be of before a registry was set up anew.
            self._learn(schema_id, _now(lambda: self.registry.schema(schema_id)))
            if not self.has(schema_id, schema):
                raise SchemaError(
                    f"the registry gives the id {schema_id} to a schema that reads other bytes",
                    where=self.registry.url,
                    todo="choose another --subject, or give an id with --schema-id",
                )
            self._registered[key] = schema_id
        return self._registered[key]

    def registered(self) -> list[Registered]:
        """Return what the registry has, by subject and version.

        :raises RegistryError: the registry cannot be reached, or did not answer as it should.
        """
        return _now(self.registry.registered)

    async def ready(
        self,
        messages: Iterable[bytes | None],
        stop: asyncio.Event,
        notice: Notice = lambda text: None,
    ) -> bool:
        """Look up the schemas that ``messages`` name, as long as that takes; False: ``stop`` came.

        :param notice: told when a wait for the registry begins and ends.
        :raises RegistryError: the registry refuses, or is none.
        """
        heads = {each[:HEADER_SIZE] for each in messages if each}
        if heads <= self._looked_up:
            return True
        named = {head: schema_id for head in heads if (schema_id := _id_in(head)) is not None}
        for schema_id in sorted(set(named.values())):
            if self._is_known(schema_id):
                continue
            try:
                work = _persist(partial(self._look_up, schema_id), math.inf, notice)
                await unless(stop, work, grace=0)
            except TimeoutError:
                return False
        self._looked_up |= {head for head in heads if named.get(head, -1) not in self._unknown}
        return True

    def _is_known(self, schema_id: int) -> bool:
        _, ask_again = self._unknown.get(schema_id, ("", 0.0))
        return schema_id in self._parsed or time.monotonic() < ask_again

    async def _look_up(self, schema_id: int) -> None:
        """Learn the schema of an id, or that there is none; lookups at the same time take turns."""
        async with self._turn:
            if self._is_known(schema_id):
                return
            kept = self._kept(schema_id)
            if kept is not None:
                self._parsed[schema_id] = kept
                return
            try:
                self._learn(schema_id, await self.registry.schema(schema_id))
            except SchemaError as error:
                self._learn_from_folders(schema_id, error)

    def _learn(self, schema_id: int, schema: Schema) -> None:
        self._parsed[schema_id] = schema
        self._unknown.pop(schema_id, None)
        if self._cache is not None:
            with suppress(OSError):
                _write_whole(self._cache / f"{schema_id}.avsc", json.dumps(plain_schema(schema)))

    def _learn_from_folders(self, schema_id: int, error: SchemaError) -> None:
        try:
            super().by_id(schema_id)
        except SchemaError:
            self._unknown[schema_id] = error.what, time.monotonic() + UNKNOWN_FOR
        else:
            self._unknown.pop(schema_id, None)

    def _kept(self, schema_id: int) -> Schema | None:
        if self._cache is None:
            return None
        try:
            return read_schema(self._cache / f"{schema_id}.avsc")
        except (SchemaError, RecursionError):
            return None


def _id_in(head: bytes) -> int | None:
    try:
        return unpack(head)[0]
    except UndecodableError:
        return None


def _write_whole(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all, whoever else writes or reads it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
        try:
            file.write(text)
            file.flush()
            Path(file.name).replace(path)
        except OSError:
            Path(file.name).unlink(missing_ok=True)
            raise


def _now(work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Do ``work`` outside of an event loop, with some patience.

    :raises RegistryError: this is in an event loop, which must not be held up.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_persist(work, PATIENCE, lambda text: None))
    raise RegistryError("a schema is needed that was not looked up", todo="await ready() first")


async def _persist(work: Callable[[], Awaitable[T]], patience: float, notice: Notice) -> T:
    """Do ``work``, again as long as the registry is unavailable, but for so many seconds."""
    give_up = time.monotonic() + patience
    pause, waiting = FIRST_PAUSE, False
    while True:
        try:
            result = await work()
        except _Unavailable as error:
            wait = max(pause * random.uniform(0.5, 1.0), error.pause)
            if time.monotonic() + wait > give_up:
                raise
            if not waiting:
                notice(f"waiting for the registry, nothing is lost: {error.what} · {error.where}")
            waiting = True
            await asyncio.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE)
        else:
            if waiting:
                notice("the registry answers again")
            return result
