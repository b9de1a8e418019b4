"""Postgres: one database per DataCluster, owned by the operator, reached only by the numbered logins of its group."""
