"""All benchmark cases, in the order in which they run."""

from tests.benchmarks.bench import Case
from tests.benchmarks.cases.bulk import BULK
from tests.benchmarks.cases.cached import CACHED
from tests.benchmarks.cases.claim import CLAIM
from tests.benchmarks.cases.cold import COLD
from tests.benchmarks.cases.crypto import CRYPTO
from tests.benchmarks.cases.dead_keys import DEAD_KEYS
from tests.benchmarks.cases.ensure import ENSURE
from tests.benchmarks.cases.expiring import EXPIRING
from tests.benchmarks.cases.get import GET
from tests.benchmarks.cases.importing import IMPORTING
from tests.benchmarks.cases.peers import PEERS
from tests.benchmarks.cases.reencrypt import REENCRYPT
from tests.benchmarks.cases.sqlite import SQLITE
from tests.benchmarks.cases.starting import STARTING
from tests.benchmarks.cases.store import STORE
from tests.benchmarks.cases.telemetry import TELEMETRY

CASES: tuple[Case, ...] = (
    *(GET, CACHED, COLD, STORE, BULK, EXPIRING, CRYPTO),
    *(SQLITE, ENSURE, CLAIM, REENCRYPT, IMPORTING, DEAD_KEYS, STARTING, TELEMETRY, PEERS),
)
