"""What every HTTP service shares: keys and roles, limits, the guard before the endpoints, answers."""
