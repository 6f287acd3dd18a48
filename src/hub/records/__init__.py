"""The log of records: how they are laid out, appended, named, kept and erased.

Entries, tiles and proofs are in ``hub/tlog``. ``bodies`` are the bytes of a chunk, ``append`` is the one way into
the log, ``log`` its tree and head as they are stored, ``kept`` its checkpoints. ``handles`` name a record for its
parties, ``permits`` a question for its provider; ``events`` tell auditors what was done. ``retain`` erases what has
expired and ``erasures`` says what was; ``holds`` copy out what must not be erased yet, ``held`` reads those copies.
"""
