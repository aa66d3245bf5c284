"""What services that share a PostgreSQL database tell each other: LISTEN on a connection of its own, and a thread.

A notice says that something may have come; it is never the only way to learn of it. While the connection is away none
is heard, and whoever waits looks by itself. https://www.postgresql.org/docs/current/sql-notify.html
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

log = logging.getLogger("securecontext.notices")
CHANNEL: Final = "securecontext"
LISTEN_SECONDS: Final = 1.0
"""How long it is listened at a time: at its end it is looked whether to go on."""
AGAIN_SECONDS: Final = 5.0
"""Until it is tried again to connect."""


class Notices:
    """Hears what other services tell, this one's own notices among it.

    Args:
        engine: from `postgres.open_postgres`; one of its connections is taken for as long as it is listened.
        tell: is called with each topic, on this thread; must not block.
    """

    def __init__(self, engine: Engine, tell: Callable[[str], None]) -> None:
        self._engine = engine
        self._tell = tell
        self._ending = threading.Event()
        self.listening = threading.Event()
        """Set while a connection listens."""
        self._thread = threading.Thread(target=self._run, name="notices", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening and give the connection back."""
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        import psycopg

        while not self._ending.is_set():
            try:
                with self._engine.connect() as connection:
                    self._listen(connection)
            except (DBAPIError, psycopg.Error) as error:
                log.warning("other services are not heard for a while: %s", type(error).__name__)
            finally:
                self.listening.clear()
            self._ending.wait(AGAIN_SECONDS)

    def _listen(self, connection: Connection) -> None:
        connection.detach()  # it goes back to nobody: what listens must not be lent to others
        driver: Any = connection.connection.dbapi_connection
        driver.autocommit = True
        driver.execute(f"LISTEN {CHANNEL}")
        self.listening.set()
        while not self._ending.is_set():
            for notice in driver.notifies(timeout=LISTEN_SECONDS):
                self._tell(notice.payload)
                if self._ending.is_set():
                    return
