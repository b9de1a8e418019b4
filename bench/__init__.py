"""What the operator costs, against the best bare script that makes the same objects."""
