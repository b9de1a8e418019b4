"""The state of the platform service: its schema, and the only way to its rows."""
