"""Running code that may compute and nothing else: plans, rungs of isolation that were tried, and the runner."""
