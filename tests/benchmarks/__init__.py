"""Figures, never assertions: ours beside a yardstick that is interleaved in the same run."""
