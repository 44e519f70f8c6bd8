"""The edge worker: reads cameras, and publishes a burst of frames when something moves."""
