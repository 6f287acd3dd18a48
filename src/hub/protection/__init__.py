"""What protects the people asked about.

``marks`` are which records are withheld from histories, ``withholding`` sets and lifts them. ``flags`` are the
people for whom only clerks answer or nothing is shown, ``flagput`` changes them, ``screen`` is what they change in
resolved rows. ``asked`` holds back whoever asks around (``askedlog``: by the log, ``askedrows``: row by row);
``releases`` let a row go. ``lately`` tells a clerk how many bodies have asked about a person.
"""
