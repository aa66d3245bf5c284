from tests.ledger_case import case, filled, keyring, ledger_connection

__all__ = ["case", "filled", "keyring", "ledger_connection"]
