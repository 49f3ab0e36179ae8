"""Messages whose alerts have null for some fields, under the same schema id."""

from __future__ import annotations

from collections.abc import Collection

from alertstream.avro.container.blocks import with_body
from alertstream.avro.schemas import Schemas
from alertstream.avro.thinning import Thinner
from alertstream.errors import Notice, SchemaError, UndecodableError
from alertstream.kafka.messages import Message
from alertstream.reading.decoder import MAX_DECODERS, ReportedOnce
from alertstream.reading.envelope import SchemaKey, opened, schema_of

WITHOUT = "alertstream.without"
"""Header of a message with fewer fields than it came with: their names."""


class Thinning:
    """Nulls top-level fields of alerts, as far as their schemas allow it.

    :param names: of the fields; without any, messages stay as they are.
    :param notice: called once for each schema of which nothing can be null.
    """

    def __init__(self, names: Collection[str], schemas: Schemas, notice: Notice) -> None:
        self._names = names
        self._schemas = schemas
        self._report = ReportedOnce(notice)
        self._thinners: dict[SchemaKey, Thinner] = {}

    def __call__(self, message: Message) -> Message:
        """Return the message with null for the fields; as it is, if that cannot be."""
        if not self._names:
            return message
        try:
            key, body, start = opened(message.value, message.key, self._schemas)
            thinner = self._thinners.get(key) or self._new_thinner(key)
            thin = thinner.thin(body, start)
        except (SchemaError, UndecodableError):
            return message
        if not thinner.names:
            return message
        whole = message.value or b""
        value = body[:start] + thin if body is whole else with_body(whole, thin)
        headers = (*message.headers, (WITHOUT, ",".join(thinner.names).encode()))
        return message._replace(value=value, headers=headers)

    def _new_thinner(self, key: SchemaKey) -> Thinner:
        schema = schema_of(key, self._schemas)
        thinner = Thinner(schema, self._names)
        if not thinner.names:
            none = f"none of {', '.join(sorted(self._names))} can be null"
            self._report(schema["name"], f"alerts of {schema['name']} stay whole: {none} there")
        if len(self._thinners) == MAX_DECODERS:
            self._thinners.clear()
        return self._thinners.setdefault(key, thinner)
