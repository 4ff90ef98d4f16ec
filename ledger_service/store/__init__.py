"""SQL and nothing else: migrations, named queries, the recorder, the vault."""
