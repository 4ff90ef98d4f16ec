"""Generations: from request to a stored asset, or to a refund."""
