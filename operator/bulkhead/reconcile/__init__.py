"""One level-triggered flow per kind, and the rooms it passes through."""
