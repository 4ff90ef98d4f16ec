"""Between handlers and store: commands in, durable outcomes out."""
