"""Generations beyond the pure state machine: catalogue, claims, doorbell, deadlines, webhooks."""
