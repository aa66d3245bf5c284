"""Working memory: facts, capacity, recall, sessions."""
