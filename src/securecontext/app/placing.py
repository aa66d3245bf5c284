"""Where an installation keeps its data: in files, or in a PostgreSQL database; never in both.

A file in the data folder says that its data is in a database. Without it, and with the address unset in one shell, an
empty memory would begin beside the full one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from securecontext.app.files import FileStores
from securecontext.app.stores import Stores
from securecontext.boundaries.keys import Keyring
from securecontext.settings import Settings
from securecontext.storage.port import Store
from securecontext.types.errors import Conflict

ELSEWHERE: Final = "data-in-postgres"
"""The file's name; it says which database that was at first, without a password."""
MOVING: Final = "data-in-postgres.moving"
"""There while data is carried from files to a database."""
REGISTER: Final = "machine.db"


def open_stores(
    settings: Settings,
    keyring: Keyring,
    clock: Callable[[], datetime],
    before_closing: Callable[[Store], None],
) -> Stores:
    """Return the stores of an installation; nothing is opened yet.

    Raises:
        Conflict: ``data_in_postgres``, ``data_in_files``: the other ones are meant.
        InvalidInput: the address is none.
    """
    home = settings.home
    marker = home / ELSEWHERE
    if (home / MOVING).exists():
        raise Conflict(
            "move_unfinished",
            f"The data of {home} is half way from its files to PostgreSQL; nothing may change it now.",
            "Finish that with `zc migrate sqlite-to-postgres`, or give it up with --give-up.",
        )
    if settings.postgres_url is None:
        if marker.exists():
            raise Conflict(
                "data_in_postgres",
                f"The data of {home} is in a PostgreSQL database ({marker.read_text(encoding='utf-8').strip()}).",
                "Set ZC_POSTGRES_URL for every program that may start the service, or use another ZC_HOME.",
            )
        return FileStores(home, keyring, clock, before_closing)
    if not marker.exists() and (home / REGISTER).exists():
        raise Conflict(
            "data_in_files",
            f"ZC_POSTGRES_URL is set, but the data of {home} is in files.",
            "Take it along with `zc migrate sqlite-to-postgres`, or set another ZC_HOME for the database.",
        )
    from securecontext.app.shared import SharedStores  # the driver is not loaded where files are used

    return SharedStores(
        settings.postgres_url,
        settings.postgres_connections,
        keyring,
        clock,
        before_closing,
        lambda where: note_elsewhere(home, where),
    )


def note_elsewhere(home: Path, where: str) -> None:
    """Keep that the data of a folder is in a database."""
    marker = home / ELSEWHERE
    if not marker.exists():
        draft = home / f".{ELSEWHERE}.new"
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)  # whatever the umask lets
        draft.write_text(f"{where}\n", encoding="utf-8")
        draft.replace(marker)
