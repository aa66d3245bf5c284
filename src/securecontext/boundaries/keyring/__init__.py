"""Keys at rest: sealing, envelopes, roots, escrow, and the bodies that are stored encrypted."""
