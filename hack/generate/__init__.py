"""Writes the CustomResourceDefinitions in `crds/` from the specs in `operator/bulkhead/api/`.

`python -m hack.generate` writes, `--check` fails where a file is stale. A struct's types, bounds, defaults, docstrings
and rules are all that there is; the two folders can not tell different stories.
"""
