"""The commands of ``hub``, one module for each or for a few that belong together."""
