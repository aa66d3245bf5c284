"""SecureContext: memory that survives, and a ledger of every tool call, for coding agents."""

__version__ = "0.1.0"
