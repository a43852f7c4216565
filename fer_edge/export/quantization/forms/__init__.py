"""The graphs in fewer bits: INT8 of record and for CPUs, FP8, FP16."""
