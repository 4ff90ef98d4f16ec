"""Stand-ins for outside services, each a process of its own that speaks the real protocol."""
