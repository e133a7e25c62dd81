"""The language model: a decoder-only Transformer, its attention kernels and its loss heads."""
