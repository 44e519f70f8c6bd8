"""A training run on a machine with a GPU and no network: packed here (`pack`), trained there (`run`)."""
