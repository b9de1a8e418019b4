"""Emulators: servers that answer as the real engines do, for machines that have no binary of them."""
