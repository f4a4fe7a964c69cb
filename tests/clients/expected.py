"""What all scripts of clients share: where the server is, the rows that the test put there, and how a value is compared.

The test starts each script as `python SCRIPT PORT`. The table `shares` has 1,000 rows, numbered by `producer_seq` from 0: difficulty
1000 + n, event_time START + n seconds, miners 40, 41 and 42 in turn, and each tenth share is stale.
"""
import datetime
import sys

HOST, PORT, USER, DATABASE = "127.0.0.1", int(sys.argv[1]), "reader", "headframe"
URL = f"postgresql://{USER}@{HOST}:{PORT}/{DATABASE}"
ROWS = 1_000
START = datetime.datetime(2026, 3, 1, 11, tzinfo=datetime.timezone.utc)
LARGEST = 10**38 - 1
SUM_OF_DIFFICULTY = sum(1_000 + n for n in range(ROWS))
# Long enough to be cancelled on any machine.
ENDLESS = "SELECT count(*) FROM generate_series(1, 100000000000)"

COLUMNS = {
    "event_time": "timestamptz", "pool": "text", "miner": "text", "worker": "text", "outcome": "text", "difficulty": "int8",
    "network_difficulty": "numeric", "height": "int8", "block_hash": "text", "solo": "bool", "ingest_time": "timestamptz", "seq": "int8", "row": "int4",
    "producer": "text", "producer_seq": "int8",
}
REQUIRED = {"event_time", "pool", "miner", "worker", "outcome", "difficulty", "network_difficulty", "height"}


def same(got, expected, about=""):
    """Fails with both values when they differ in value or in type."""
    if got != expected or type(got) is not type(expected):
        sys.exit(f"{about or 'value'}: {got!r} is not {expected!r}")


def fails(kinds, action, about=""):
    """Runs an action that must fail so; returns the error."""
    try:
        action()
    except kinds as error:
        return error
    sys.exit(f"{about or action}: no error came")


def done():
    """The last line of a script; the test looks for it."""
    print("all values agree")
