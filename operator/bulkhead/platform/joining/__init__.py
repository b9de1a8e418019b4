"""How planes and clusters come to be known: one-time tokens, their exchange, and the way back after a loss."""
