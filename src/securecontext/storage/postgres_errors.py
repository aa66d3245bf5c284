"""What a driver's error of PostgreSQL means, in our words: by the server's own code, never by its text.

Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, TimeoutError

from securecontext.types.errors import Unavailable, ZcError


def translated(error: BaseException) -> BaseException:
    """Return our refusal for a driver's error; other errors come back as they are."""
    if isinstance(error, TimeoutError):
        return Unavailable(
            "pool_exhausted",
            "Every connection to the database was in use for ten seconds.",
            "Call again; if it goes on, raise ZC_POSTGRES_CONNECTIONS.",
        )
    if isinstance(error, ZcError) or not isinstance(error, DBAPIError):
        return error
    state = getattr(error.orig, "sqlstate", None)
    match state:
        case "53100":
            return Unavailable(
                "disk_full",
                "The database server's disk is full; nothing was changed.",
                "Free room on the server.",
            )
        case "57014":
            return Unavailable(
                "database_slow", "The database took longer than 30 seconds.", "Call again later."
            )
        case "42501" | "25006":
            return Unavailable(
                "storage_read_only",
                "This login may not do that in the database.",
                "Check the login's grants with `zc doctor`.",
            )
        case "40001" | "40P01" | "55P03":
            return Unavailable("database_busy", "Another service holds these rows.", "Call again.")
        case None if isinstance(error, OperationalError | InterfaceError):  # no answer from the server at all
            return Unavailable(
                "database_unreachable",
                "The PostgreSQL server cannot be reached.",
                "Check it, then call again.",
            )
        case str() if state.startswith(("08", "25P03", "28", "53", "57P", "3D")):
            return Unavailable(
                "database_unreachable",
                "The PostgreSQL server refuses the connection.",
                "Check its address, login and limits, then call again.",
                sqlstate=state,
            )
    return error
