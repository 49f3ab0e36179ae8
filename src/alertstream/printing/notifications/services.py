"""Services that send messages, by apprise's URLs, whose secrets are never shown."""

from __future__ import annotations

import logging
import re
import threading
from urllib.parse import unquote

from alertstream.errors import UsageError, printable
from alertstream.printing.notifications.message import Message
from alertstream.system.extras import extra

with extra("notify", "messages"):
    from apprise import Apprise, AppriseAsset, NotifyFormat, OverflowMode
    from apprise.attachment.memory import AttachMemory
    from apprise.manager_plugins import NotificationManager

    PLUGINS = NotificationManager()
    PLUGINS.load_modules()

PICTURE = "cutouts.png"
MIN_SECRET = 3
"""Characters of the shortest part of a URL that is redacted in reasons for failures."""
MAX_CAUSE = 200
_ASSET = AppriseAsset(
    app_id="alertstream",
    app_desc="Alerts of a sky survey",
    app_url="",
    image_url_mask="",
    image_url_logo="",
)
_REASONS = re.compile(r"\[Errno -?\d+\] [^'\")]+|timed out|\(\d{3}, b?['\"][^'\"]*")
"""The informative parts of the text of a network library's exception."""
_heard = threading.local()


class _Ear(logging.Handler):
    """Collects what libraries log while a service sends, separately for each thread."""

    def emit(self, record: logging.LogRecord) -> None:
        if (lines := getattr(_heard, "lines", None)) is not None:
            lines.append((record.levelno, record.getMessage()))


def _keep_secrets() -> None:
    """Silence loggers that log URLs, whatever the log level."""
    for name in ("apprise", "urllib3", "requests", "requests_oauthlib", "slixmpp", "paho"):
        logging.getLogger(name).handlers = [logging.NullHandler()]
        logging.getLogger(name).propagate = False
    logger = logging.getLogger("apprise")
    logger.handlers = [_Ear()]
    logger.setLevel(logging.DEBUG)


class Service:
    """Sends messages to people.

    :param url: apprise's URL of a service.
    :param label: its name for users; None: the URL's scheme, all of it that is not secret.
    :raises UsageError: apprise does not know such a service, or cannot use it here.
    """

    def __init__(self, url: str, label: str | None = None) -> None:
        _keep_secrets()
        scheme = url.partition("://")[0].lower()
        self.label = label or f"{printable(scheme, 20)}://…"
        if scheme not in PLUGINS:
            what = f"{self.label} is not a service that apprise knows"
            raise UsageError(what, todo="see its list of services: https://appriseit.com/services")
        self._parts = sorted(
            {part for text in (url, unquote(url)) for part in re.split(r"[\s/?&=@:;,+#]+", text)}
            - {scheme, ""},
            key=len,
            reverse=True,
        )
        _heard.lines = []
        plugin = Apprise.instantiate(url, asset=_ASSET)
        if plugin is None:
            name, cause = PLUGINS[scheme].service_name, self._cause()
            if not PLUGINS[scheme].enabled:
                needed = PLUGINS[scheme].requirements.get("packages_required") or ()
                listed = needed if isinstance(needed, str) else ", ".join(needed)
                what = f"{self.label}: {name} needs what is not installed here"
                raise UsageError(what, todo=f"pip install {listed}" if listed else None)
            what = f"{self.label}: the URL is not valid for {name}{cause and f' ({cause})'}"
            raise UsageError(what, todo=PLUGINS[scheme].setup_url or "see apprise's page of it")
        if plugin.overflow_mode == OverflowMode.UPSTREAM:
            # Truncate, as a service would refuse too long a message for ever.
            plugin.overflow_mode = OverflowMode.TRUNCATE
        self._plugin = plugin
        self.takes_pictures: bool = plugin.attachment_support
        self.shows_secrets = plugin.url(privacy=True) != plugin.url(privacy=False)
        """Whether the URL contains secrets."""

    def send(self, message: Message) -> str | None:
        """Send a message, which may take long; return why it was not taken, or None."""
        attached = None
        if message.picture and self.takes_pictures:
            attached = [AttachMemory(message.picture, name=PICTURE, mimetype="image/png")]
        _heard.lines = []
        try:
            # Not through Apprise.notify, whose threads would keep the process from ending.
            taken = self._plugin.notify(
                body=message.text,
                title=message.title,
                attach=attached,
                body_format=NotifyFormat.TEXT,
            )
        except Exception as error:
            return self._redacted(f"{type(error).__name__}: {error}")
        return None if taken else self._cause() or "it gives no reason"

    def _cause(self) -> str:
        """Return what has been logged, for people, with secrets redacted."""
        warnings = [text for level, text in _heard.lines if level >= logging.WARNING]
        reasons = [found for _, text in _heard.lines for found in _REASONS.findall(text)]
        _heard.lines = []
        told = [*warnings[:1], *(each.lstrip("(") for each in reasons[-1:])]
        return self._redacted(": ".join(each.strip().rstrip(".") for each in told))

    def _redacted(self, text: str) -> str:
        for part in self._parts:
            if len(part) >= MIN_SECRET:
                text = re.sub(re.escape(part), "***", text, flags=re.IGNORECASE)
        return printable(" ".join(text.split()), MAX_CAUSE)
