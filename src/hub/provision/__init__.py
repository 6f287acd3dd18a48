"""Both sides of the exchange: permits that wait for their provider, and its answers.

``hub/exchange.py`` says how a permit stands. ``inbox`` has the permits as they are sorted by provider, ``deliver``
sorts them and ``delivery`` is the thread that does it; ``tail`` reads what is not sorted yet. ``collect`` hands
permits out and ``provide`` takes the answers, ``lapse`` ends what is too late, ``ends`` records all of these;
``answers`` tells the requester. ``payloads`` are sealed answers, ``payloadkeys`` the keys they are sealed to,
``payloadstore`` keeps them until they are fetched.
"""
