"""The installed code against its signed baseline."""
