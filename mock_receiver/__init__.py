"""The reference receiver: the smallest one that is right.

It takes chunks in order, each once, and keeps their records exactly as they came. Read
`ledger.Ledger.accept` first: it is the algorithm of contract 8.4, line by line. It imports
``app.wire`` and nothing else of the service, as any receiver written in Python could.
"""
