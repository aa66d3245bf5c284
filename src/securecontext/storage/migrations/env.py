"""Alembic's entry: runs migrations on the connection, and in the transaction, of the caller.

`storage.schema.upgrade` puts the connection into the configuration's attributes. Its transaction is already open, so
alembic takes part in it and neither begins nor commits one.
"""

from __future__ import annotations

from alembic import context

from securecontext.storage import tables

connection = context.config.attributes.get("connection")
if connection is None:
    raise RuntimeError(
        "Migrations run through securecontext.storage.schema.upgrade, not through the alembic command."
    )

context.configure(
    connection=connection,
    target_metadata=tables.metadata,
    compare_type=True,
    compare_server_default=True,
)
context.run_migrations()
