"""Plain values every floor may speak of: ids, errors, ledger drafts."""
