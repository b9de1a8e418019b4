"""How the operator reaches the API server: access, client, watches, what they saw, and who leads."""
