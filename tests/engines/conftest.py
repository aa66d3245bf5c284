from tests.engines.rooms_case import rooms

__all__ = ["rooms"]
