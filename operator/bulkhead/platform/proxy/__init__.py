"""What a user sends to a data cluster, and what comes back: passed on, vouched for, and held to its limits."""
