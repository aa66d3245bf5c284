"""Text in, value out or refused: pure decisions without I/O."""
