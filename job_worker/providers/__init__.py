"""Generation providers: the port, and an adapter for each, which alone knows its protocol."""
