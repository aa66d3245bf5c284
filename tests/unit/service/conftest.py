"""The house for these tests."""

from tests.house_case import house

__all__ = ["house"]
