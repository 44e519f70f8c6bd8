"""What people are told: the map, the poster and the captioner, the map API and its page."""
