from tests.house_case import house
from tests.ledger_case import case, filled, keyring, ledger_connection

__all__ = ["case", "filled", "house", "keyring", "ledger_connection"]
