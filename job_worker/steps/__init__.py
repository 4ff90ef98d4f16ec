"""The steps of a generation: each a function from a claim to the report of what happened.

A step performs one short piece of work and always has an answer; only bugs raise.
"""
