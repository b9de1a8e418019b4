"""The platform's own keys: how what must be secret rests in the database, and how each key vouches for the next."""
