"""All fuzz targets."""

from tests.fuzz.reading.callbacks import CALLBACKS
from tests.fuzz.reading.challenges import CHALLENGES
from tests.fuzz.reading.cursors import CURSORS
from tests.fuzz.reading.discovery import DISCOVERY
from tests.fuzz.reading.dumps import DUMPS
from tests.fuzz.reading.envelope import ENVELOPE
from tests.fuzz.reading.heads import HEADS
from tests.fuzz.reading.journal import JOURNAL
from tests.fuzz.reading.providers import PROVIDERS
from tests.fuzz.reading.starts import STARTS
from tests.fuzz.reading.systems import SYSTEMS

_ALL = (CALLBACKS, CHALLENGES, CURSORS, DISCOVERY, DUMPS, ENVELOPE, HEADS, JOURNAL, PROVIDERS, STARTS, SYSTEMS)
TARGETS = {target.name: target for target in _ALL}
