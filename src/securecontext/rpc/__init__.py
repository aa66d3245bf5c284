"""The door of the command line: one JSON line in, one out."""
