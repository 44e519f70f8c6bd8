"""The fleet: edge nodes reached over SSH, the models they run, and the OCI registry that those come from."""
