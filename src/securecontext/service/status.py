"""What the service says of itself at the control door."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from securecontext import __version__
from securecontext.boundaries import limits, usage

if TYPE_CHECKING:
    from securecontext.app import App
    from securecontext.service.doors import Doors
    from securecontext.service.listener import Listener


class Status:
    """What the service says of itself.

    Args:
        app: whose limits are told.
        listener: whose connections are told.
        doors: what is known of the HTTP door.
    """

    def __init__(self, app: App, listener: Listener, doors: Doors) -> None:
        self._app = app
        self._listener = listener
        self._doors = doors
        self._started = time.time()

    def told(self) -> dict[str, Any]:
        """Return it as the control door answers."""
        return {
            "ok": True,
            "version": __version__,
            "pid": os.getpid(),
            "home": str(self._app.settings.home),
            "http": self._doors.http_url,
            "http_trouble": self._doors.http_trouble,
            "http_wanted": self._app.settings.http_port is not None,
            "token_file": str(self._app.door_token_file) if self._doors.http_url else "",
            "uptime_seconds": round(time.time() - self._started),
            "connections": self._listener.open - 1 + self._doors.http_clients,
            "memory_mb": round(usage.resident_bytes() / limits.MB, 1),
            "idle_minutes": self._app.settings.idle_minutes,
            "database": self._app.stores.told(),
            "upstream": self._app.upstreams.told() if self._app.upstreams else None,
            "secret_rules": self._app.secret_rules.state,
            "secret_rules_trouble": self._app.secret_rules.trouble,
            "limits": self._limits(),
        }

    def _limits(self) -> dict[str, list[float]]:
        """Return what is used of each limit, and the limit."""
        at = self._app.limits
        http = usage.within_files(limits.HTTP_CONNECTIONS, limits.FILES_FOR_HTTP)
        largest = self._app.stores.largest(int(at.quota_mb * limits.MB))
        waiting = self._app.bell.waiting
        return {
            "connections": [self._listener.open - 1, self._listener.most],
            "http_connections": [self._doors.http_clients, http],
            "open_files": [usage.open_files(), usage.file_limit()],
            "calls_under_way": [max(0, self._app.gate.under_way - waiting), self._listener.workers],
            "calls_waiting": [waiting, limits.WAITERS],
            "memory_mb": [round(usage.resident_bytes() / limits.MB, 1), at.memory_mb],
            "largest_project_mb": [round(largest / limits.MB, 1), at.quota_mb],
        }
