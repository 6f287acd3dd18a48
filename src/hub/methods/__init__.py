"""The Hub's methods by theme, a class a file, of which ``hub/hub.py`` is made.

Arguments are checked here, the work is done elsewhere. Asking and answering: ``aliases``, ``identifiers``,
``holders``, ``exchange``, ``requests``, ``sending``, ``copies``. For citizens: ``showing`` (histories and proofs),
``consents``, ``proxies``, ``counter``, ``alerts``. Protection and mistakes: ``marks``, ``flags``, ``releases``,
``suspension``, ``links``, ``mislinks``, ``persons``. The operator: ``retention``, ``serving``.
"""
