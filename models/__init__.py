"""Networks: weight files and digests, the backends that run them, and the decoding of their outputs."""
