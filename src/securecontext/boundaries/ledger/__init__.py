"""The ledger beyond its first record: tree, checkpoints, anchors, verification, proofs, and what may be erased."""
