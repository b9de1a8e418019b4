"""The front door: a table of routes, and one way in that is the same for all of them."""
