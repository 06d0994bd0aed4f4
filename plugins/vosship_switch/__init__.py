"""The switch itself, imitated and sized: what `simulate`, `demo` and `plan` stand on.

It reads and ships nothing: it only makes what a VOS3000 would have written and sent, and says what a real one needs.
What it does is described in docs/simulator.md.
"""
