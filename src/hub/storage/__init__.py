"""What every stored value stands on; which databases there are says ``hub/store.py``.

``snapshot`` is one state of the hub to read from, and one transaction to write with; ``sealed`` are small values
under a checksum, ``confidential`` those that only the hub may read. ``keys`` are the secret keys of a folder,
``periods`` those of each quarter's records, ``blockcipher`` is AES on numbers of 16 bytes. ``turns`` says who goes
first to the writer's lock, ``workers`` are threads that share a batch, ``times`` counts how long something took.
``hugepages`` puts pages of 2 MiB under the alias tables.
"""
