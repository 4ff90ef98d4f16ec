"""`make check-fal`: what fal's documentation leaves open, asked of fal.ai itself.

The emulator had to decide each of these points without knowing. This asks both the same questions,
with the cheapest model and a few jobs, and shows where they differ: then the emulator, and maybe
the worker, has something to learn.
"""
