"""What keeps wrong links out, and what follows from one that was there.

``attributes`` are the four that are compared, ``folding`` says which spellings are one and ``variants`` which
characters; ``register`` compares for the register body, ``detectors`` judge whole files. ``relink`` confirms and
replaces links by the word of clerks, ``linkedits`` are its changes in the tables. ``blast`` finds what was done
through a link, ``report`` tells both citizens of a wrong one (``state``: how far it is) and ``breach`` drafts what
the Commission gets.
"""
