"""Schemas by id as a schema registry has them, kept in memory and on disk."""

from __future__ import annotations

import asyncio
import json
import math
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from alertstream.avro.registry_client import (
    NotRegisteredError,
    RefusedError,
    Registered,
    RegistryClient,
    RegistryUnavailableError,
)
from alertstream.avro.schema_tree import Schema
from alertstream.avro.schemas import (
    Schemas,
    canonical_fingerprint,
    parsed,
    plain_schema,
    read_schema,
    with_references,
)
from alertstream.avro.wire import HEADER_SIZE, schema_id_of
from alertstream.errors import Notice, RegistryError, SchemaError, info
from alertstream.system.cancellation import unless_stopped
from alertstream.system.files import paths_of, write_whole

T = TypeVar("T")

MIN_PAUSE, MAX_PAUSE = 0.25, 10.0
"""Seconds until a registry that is not available is asked again; the pause doubles each time."""
COMMAND_TIMEOUT = 8.0
"""Seconds for which a command that ends by itself goes on asking."""
MAX_LOOKUPS = 16
"""Ids that are asked for at the same time."""
UNKNOWN_FOR = 30.0
"""Seconds until an id that the registry did not know is asked for again."""
MAX_UNKNOWN = 240
"""Unknown ids in that time, after which only a batch's most common ids are asked for."""
MAX_NAMED = 8
"""Subjects that an error names."""
MAX_ID = 2**31 - 1
"""A registry's largest id; on larger ones, some fail instead of reporting them unknown."""


class RegistrySchemas(Schemas):
    """Schemas by id as the registry says; memory and disk are asked first.

    An id that the registry definitely does not have is looked up in ``folders``, and nowhere
    else: LSST's rule for ids is not the registry's. If the registry does not answer, it is asked
    again.

    :param cache: where to keep schemas, by registry and id, or None; it need not be there, and
        what is damaged in it is fetched again.
    """

    known_in_advance = False

    def __init__(
        self, client: RegistryClient, folders: Sequence[Path] = (), cache: Path | None = None
    ) -> None:
        super().__init__(folders)
        self._folders = tuple(folders)
        self.client = client
        self._cache = cache and cache / quote(client.url, safe="")
        self._unknown: dict[int, tuple[str, float]] = {}
        self._has_answered = False
        self._registered: dict[tuple[str, str], int] = {}
        self._turn = asyncio.Lock()

    def by_id(self, schema_id: int) -> Schema:
        """Return the parsed schema with this id, which has been looked up.

        :raises SchemaError: there is none, it is not valid, or it was one of too many to look up.
        """
        if schema_id in self._parsed:
            return self._parsed[schema_id]
        skipped = f"schema id was not looked up: {MAX_UNKNOWN} others were unknown just before"
        what, _ = self._unknown.get(schema_id, (skipped, 0.0))
        raise SchemaError(what, where=self.client.url)

    async def look_up(self, schema_id: int) -> Schema:
        """Return the parsed schema with this id.

        :raises SchemaError: there is none, or it is not valid.
        :raises RegistryError: the registry cannot be reached, or did not answer as it should.
        """
        await self._ask(self._look_up, [schema_id])
        return self.by_id(schema_id)

    async def id_for(
        self, schema: Schema, subject: str | None = None, stated: int | None = None
    ) -> int:
        """Return the registry's id for a schema, which is registered there if it has none yet.

        A version that reads the same bytes will do: a file's schema may lack what readers do not
        need, such as comments. A read-only registry is searched, too.

        :param subject: under which subject; None is the schema's full name.
        :param stated: ignored: the registry says what the id is.
        :raises SchemaError: the registry rejects it.
        :raises RegistryError: as for :meth:`look_up`; or it lacks it, and may only be read.
        """
        key = subject or schema["name"], canonical_fingerprint(schema)
        if key not in self._registered:
            plain, found, refusal = plain_schema(schema), None, None
            try:
                found = await self._ask(self.client.known_id, key[0], plain)
            except RegistryUnavailableError:
                raise
            except RegistryError as error:
                # A read-only login may not send this request.
                refusal = error
            if found is None:
                found = await self._same_in(key[0], schema)
            if found is None and refusal is None:
                try:
                    found = await self._ask(self.client.register, key[0], plain)
                except RefusedError as error:
                    refusal = error
            if found is None:
                assert refusal is not None
                raise await self._lacking(key[0], refusal)
            await self._require_same(found, schema)
            self._registered[key] = found
        return self._registered[key]

    async def register(self, schema: Schema, subject: str) -> int:
        """Register a schema under a subject, unless exactly this one is there; return its id.

        :raises SchemaError: the registry rejects it.
        :raises RegistryError: as for :meth:`look_up`.
        """
        plain = plain_schema(schema)
        found = await self._ask(self.client.known_id, subject, plain)
        if found is None:
            found = await self._ask(self.client.register, subject, plain)
        await self._require_same(found, schema)
        return found

    async def _require_same(self, schema_id: int, schema: Schema) -> None:
        # The cached schema may be from before the registry was set up again.
        self._learn(schema_id, await self._ask(self._fetch, schema_id))
        if not self.has(schema_id, schema):
            what = f"the registry gives the id {schema_id} to a schema that reads other bytes"
            todo = "choose another --subject, or give an id with --schema-id"
            raise SchemaError(what, where=self.client.url, todo=todo)

    async def _same_in(self, subject: str, schema: Schema) -> int | None:
        """Return the id of a subject's newest version that reads the bytes of ``schema``."""
        for each in await self._ask(self.client.versions, subject):
            with suppress(SchemaError):
                self._learn(each.schema_id, await self._ask(self._fetch, each.schema_id))
                if self.has(each.schema_id, schema):
                    return each.schema_id
        return None

    async def _lacking(self, subject: str, refusal: RegistryError) -> RegistryError:
        names = await self._ask(self.client.subjects)
        there = ", ".join(sorted(names)[:MAX_NAMED]) or "none"
        what = f"the registry has no such schema under {subject}, and takes none: {refusal.what}"
        todo = f"give the --subject that has it (there: {there}), its id with --schema-id, or a "
        todo += "login that may register it"
        return RegistryError(what, where=self.client.url, todo=todo)

    async def _ask(self, question: Callable[..., Awaitable[T]], *about: Any) -> T:
        return await _persist(partial(question, *about), COMMAND_TIMEOUT)

    async def registered(self) -> list[Registered]:
        """Return what the registry has, by subject and version.

        :raises RegistryError: as for :meth:`look_up`.
        """
        return await self._ask(self.client.registered)

    async def ready(
        self,
        messages: Iterable[bytes | None],
        stop: asyncio.Event,
        notice: Notice = lambda text: None,
    ) -> bool:
        """Look up the schemas that ``messages`` name, however long it takes; False if stopped.

        The most common come first. A registry is asked for at most ``MAX_UNKNOWN`` unknown ids in
        ``UNKNOWN_FOR`` seconds, so that hostile messages cannot stall a reader.

        :param notice: called when a wait for the registry begins and ends.
        :raises RegistryError: the registry refuses, or is not one.
        """
        heads = Counter(each[:HEADER_SIZE] for each in messages if each)
        found = (schema_id_of(head) for head, _ in heads.most_common())
        ids = [each for each in found if each is not None and not self._is_known(each)]
        if ids:
            try:
                work = _persist(partial(self._look_up, ids), math.inf, notice)
                await unless_stopped(stop, work, grace=0)
            except TimeoutError:
                return False
        return True

    def _is_known(self, schema_id: int) -> bool:
        _, ask_again = self._unknown.get(schema_id, ("", 0.0))
        return schema_id in self._parsed or time.monotonic() < ask_again

    async def _look_up(self, ids: Sequence[int]) -> None:
        """Learn the schemas of ids, or that there are none; concurrent calls take turns."""
        async with self._turn, self.client.connections():
            for start in range(0, len(ids), MAX_LOOKUPS):
                self._unknown = {
                    each: why for each, why in self._unknown.items() if self._is_known(each)
                }
                room = MAX_UNKNOWN - len(self._unknown)
                if start and room <= 0:
                    return
                some = ids[start : start + (MAX_LOOKUPS if room > 0 else 1)]
                asked = [each for each in some if not self._is_known(each)]
                lookups = map(self._look_up_one, asked)
                errors = await asyncio.gather(*lookups, return_exceptions=True)
                for each, error in zip(asked, errors, strict=True):
                    if isinstance(error, RefusedError) and self._has_answered:
                        self._set_aside(each, f"the registry refuses to give schema id {each}")
                    elif error is not None:
                        raise error

    async def _look_up_one(self, schema_id: int) -> None:
        if self._cache is not None:
            with suppress(SchemaError, RecursionError):
                self._parsed[schema_id] = read_schema(self._cache / f"{schema_id}.avsc")
                return
        try:
            self._learn(schema_id, await self._fetch(schema_id))
        except SchemaError as error:
            self._set_aside(schema_id, error.what)

    def _set_aside(self, schema_id: int, why: str) -> None:
        """Do not ask for a schema again for a while, unless a folder has it."""
        self._unknown[schema_id] = why, time.monotonic() + UNKNOWN_FOR
        with suppress(SchemaError):
            super().by_id(schema_id)
            del self._unknown[schema_id]

    async def _fetch(self, schema_id: int) -> Schema:
        try:
            if schema_id > MAX_ID:
                raise NotRegisteredError("no registry gives such an id")
            schema, references = await self.client.schema(schema_id)
            self._has_answered = True
            return parsed(with_references(schema, references) if references else schema)
        except NotRegisteredError as error:
            self._has_answered |= schema_id <= MAX_ID
            what = f"schema id {schema_id} is unknown to the registry"
            raise SchemaError(what, where=self.client.url) from error
        except (SchemaError, RecursionError) as error:
            why = error.what if isinstance(error, SchemaError) else "nested too deeply"
            what = f"the registry's schema id {schema_id} cannot be used: {why}"
            raise SchemaError(what, where=self.client.url) from error

    def _learn(self, schema_id: int, schema: Schema) -> None:
        self._parsed[schema_id] = schema
        self._unknown.pop(schema_id, None)
        if self._cache is not None:
            content = json.dumps(plain_schema(schema)).encode()
            with suppress(OSError):
                write_whole(self._cache / f"{schema_id}.avsc", content)


def schemas_from(
    folders: str | Path | Sequence[str | Path], registry: str | None, login: tuple[str, str] | None
) -> Schemas:
    """Return the schemas that a Python program names by folders and a registry's URL.

    :raises SchemaError: one of ``folders`` is not a folder.
    :raises UsageError: the URL or the login is not valid.
    """
    paths = paths_of(folders)
    if registry is None:
        return Schemas(paths)
    return RegistrySchemas(RegistryClient(registry, *(login or ())), paths)


async def _persist(
    work: Callable[[], Awaitable[T]], patience: float, notice: Notice = lambda text: None
) -> T:
    """Return the result of ``work``, retried for ``patience`` seconds if the registry is down."""
    give_up = time.monotonic() + patience
    pause, waiting = MIN_PAUSE, False
    while True:
        try:
            result = await work()
        except RegistryUnavailableError as error:
            wait = max(pause * random.uniform(0.5, 1.0), error.pause)
            if time.monotonic() + wait > give_up:
                raise
            if not waiting:
                notice(f"waiting for the registry, nothing is lost: {error.what} · {error.where}")
            waiting = True
            await asyncio.sleep(wait)
            pause = min(2 * pause, MAX_PAUSE)
        else:
            if waiting:
                notice(info("the registry answers again"))
            return result
