"""The product through its real clients."""
