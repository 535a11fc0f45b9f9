"""Every defect that is planted, those of the list with their numbers in it."""

from operator import attrgetter
from typing import Final

from tests.mutants.borders import BORDERS
from tests.mutants.delivery import DELIVERY
from tests.mutants.further import FURTHER
from tests.mutants.stores import STORES

LISTED_MAX: Final = 26
"""The number of the last one that ``docs/reliability.md`` lists."""

DEFECTS: Final = sorted((*DELIVERY, *STORES, *BORDERS, *FURTHER), key=attrgetter("number"))
"""In the order of their numbers, some in more than one form."""
