"""The corridor: the one straight path from a door to an effect."""
