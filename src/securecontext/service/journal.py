"""The service's log: JSON lines, 0600, bounded, secrets redacted before they reach the disk."""

from __future__ import annotations

import json
import logging
import os
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any

from securecontext.service import guard
from securecontext.validators.secrets import redact

FILE = "logs/service.log"
MOST_BYTES = 2 * 1024 * 1024
KEPT = 3


class _Private(RotatingFileHandler):
    """A rotating file that nobody else may read."""

    def _open(self) -> Any:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        return os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace")


class _Lines(logging.Formatter):
    """One JSON object a record; a line break in a message stays inside its string."""

    def format(self, record: logging.LogRecord) -> str:
        out = {
            "ts": self.formatTime(record, "%Y-%m-%dT%H:%M:%S") + f".{int(record.msecs):03d}",
            "level": record.levelname.lower(),
            "component": record.name.removeprefix("securecontext."),
            "event": redact(record.getMessage()).text,
        }
        if record.exc_info:
            out["trace"] = redact(self.formatException(record.exc_info)).text
        return json.dumps(out, ensure_ascii=False)


def start(home: Path, level: str) -> None:
    """Send the records of this process to ``<home>/logs/service.log``.

    Raises:
        Unavailable: it cannot be written.
    """
    file = home / FILE
    try:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        handler = _Private(file, maxBytes=MOST_BYTES, backupCount=KEPT, encoding="utf-8")
    except OSError as error:
        raise guard.blocked(file, error) from error
    handler.setFormatter(_Lines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in (
        "alembic",
        "mcp",
        "asyncio",
        "uvicorn",
        "uvicorn.error",
        "uvicorn.access",
        "httpx",
        "sse_starlette",
    ):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
