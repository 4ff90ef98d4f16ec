"""Adapters of generation providers: one module for each, the only places that know its protocol."""
