"""Networks: their files and digests, the backends that run them, and how their outputs are read."""
