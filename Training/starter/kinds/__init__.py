"""The recipe of a sequence model with thirteen names. Not shipped yet: see docs/benchmarks/sequence.md."""
