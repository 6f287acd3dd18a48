"""Who gets which alias: by resident record codes, by tickets, in the place of an old one.

``acquire`` is acquisition in one call, ``reissue`` ends aliases and gives new ones. Acquisition in three parts:
``tickets`` that are drawn, ``claims`` of whose they are to be (``claiming`` makes and reads them),
``ticketdelivery`` by the register body. ``additions`` writes new entries into the alias tables
(``hub/aliases.py``), ``tableedits`` changes single ones.
"""
