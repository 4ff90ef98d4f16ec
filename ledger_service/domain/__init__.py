"""The pure core: no clock, random, I/O or environment in here.

`decide(world, command, now)` says what happens, `evolve(state, event)` what that means.
The live path and a replay of the log use the same `evolve`.
"""
