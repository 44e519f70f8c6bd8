"""Text and map of an alert: what the captioner writes about a hazard, in Korean and English."""
