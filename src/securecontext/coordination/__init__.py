"""Coordination: what agents tell one another, what they work on, and what is theirs meanwhile."""
