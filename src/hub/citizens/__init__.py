"""What a person does and lets others do: read by a proxy or at a counter, consent, ask for a correction.

``proxies`` are granted, confirmed and ended (``proxystate``: as they are stored), ``consents`` withdrawn and given
again, ``corrections`` asked for and decided; ``counter`` is the disclosure by two clerks to whoever stands before
them.
"""
