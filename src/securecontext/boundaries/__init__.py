"""Keys, the ledger, policy and limits: what keeps the rooms honest."""
