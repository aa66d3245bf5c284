"""``make demo`` and ``make demo-team``: the main jobs, done for real and shown step by step."""
