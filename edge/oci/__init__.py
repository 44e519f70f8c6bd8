"""Where models are kept: an OCI registry over HTTP, or a folder in the OCI image layout; edge/ alone uses it."""
