"""Functions that inform people: the map, the poster and the captioner."""
