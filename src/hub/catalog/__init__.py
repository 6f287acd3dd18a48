"""The catalog: who may ask whom for what, since when; institutions, classes, procedures and rules.

Start with :class:`Catalog`. ``japan/`` holds the shipped legal basis; docs/catalog.md says how files change it.
"""

from hub.catalog.catalog import Catalog
from hub.catalog.check import Problem
from hub.catalog.decide import Consents, Decision, DecisionTable
from hub.catalog.institutions import Imported, Institution
from hub.catalog.law import Procedure, Row, Rule

__all__ = [
    "Catalog", "Consents", "Decision", "DecisionTable", "Imported", "Institution", "Problem", "Procedure", "Row",
    "Rule",
]  # fmt: skip
