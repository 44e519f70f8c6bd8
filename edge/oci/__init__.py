"""Storage of models: an OCI registry over HTTP, or a folder in the OCI image layout; only edge/ uses it."""
