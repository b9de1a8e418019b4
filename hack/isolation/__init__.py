"""The isolation matrix: every tenant's own credentials, tried on every other tenant's data, engine by engine.

Demo and tests run the same attempts. An attempt is a way in that must be shut, or one's own door that must open:
without the second kind a broken credential would look like perfect isolation.
"""
