"""A search server that answers as Meilisearch 1.50.0 does: same routes, authorisation and errors, leaks included.

It exists so that tests, demo and benchmarks have a search engine where no Meilisearch binary can be had. What the real
server answered is kept as data in ``tests/contract/meilisearch``; that suite runs against either.

Told apart from the real one by:

- ranking is the same order of rules over a simpler tokeniser (words and typos; no word concatenation, no languages);
- vectors, geo filters, personalisation, chat completions, remote shards and non-empty dynamic rules are not there: a
  request for one of them is refused with 501 and the code ``not_emulated``, never answered wrongly;
- an export or a remote embedder never reaches anyone: its task holds the queue as an unreachable host does, then fails;
- webhooks are kept, not called.
"""
