"""One look for everything that is read in a browser: the site's pages, and those of your own run."""

from .frame import COURSE, LOOK, Place, frame
from .glossary import Glossary
from .markdown import Text, plain, slug
from .notebook import Sheet, sheet

__all__ = ["COURSE", "LOOK", "Glossary", "Place", "Sheet", "Text", "frame", "plain", "sheet", "slug"]
