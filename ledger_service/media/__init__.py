"""Stored assets as their owners reach them: links that expire."""
