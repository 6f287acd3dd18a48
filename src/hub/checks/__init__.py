"""What ``hub verify`` compares beside the log itself: stored state with the events and records that tell of it.

``marks`` and corrections, ``flags``, ``links`` and tickets, ``inboxes``, ``identifiers``, ``proxies``, ``notices``,
``mislinks``, ``persons`` (lives and successions) and ``runs`` of the history index. ``hub/verify.py`` calls them.
"""
