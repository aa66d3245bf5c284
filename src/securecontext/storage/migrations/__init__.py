"""The one history of the schema, for SQLite and PostgreSQL alike; `storage.schema` runs it."""
