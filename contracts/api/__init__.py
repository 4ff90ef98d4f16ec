"""Request and response shapes of the HTTP API, by resource. Requests refuse unknown fields."""
