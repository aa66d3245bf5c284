"""Parsers and doors under bytes that nobody would send: `make fuzz` for minutes, `test_fuzz.py` for seconds.

What counts as a crash: any exception but the parser's own, an answer that is not sound, and an input that takes more
processor time or memory than any input of its size may. What `make fuzz` finds is kept in ``tests/fuzz/found``; once
mended, the input goes into ``tests/fuzz/corpus``, where every later run begins.
"""
