"""What survives: the ledger and the catalog, in SQLite or in memory."""
