"""From an edge's mistakes to a better model on that edge; `bongsu models learn` runs it."""
