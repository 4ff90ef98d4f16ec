"""The one-machine run: real PostgreSQL, real Valkey, every service, one launcher, no installer."""
