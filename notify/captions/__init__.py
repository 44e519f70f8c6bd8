"""The words and the drawn map of an alert: what the captioner says of a hazard, in Korean and English."""
