"""Which project a folder belongs to, and the register of projects."""
