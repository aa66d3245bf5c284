"""The user's one service: socket, life cycle, connections."""
