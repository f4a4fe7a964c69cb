"""The chain of evidence in a few lines of another language: from the rows of the tables, as JSON on stdin, every hash and
every root. Prints what was compared."""

import base64
import hashlib
import json
import sys

registry, commands, site_commands, chain = json.load(sys.stdin)
facts = {}
for stream, rows in (("registry", registry), ("commands", commands), ("site_commands", site_commands)):
    for row in rows:
        values = {name: value for name, value in row.items() if value is not None}
        facts[stream, values.pop("seq")] = (values.pop("row"), values)


def leaf(entry):
    return hashlib.sha256(b"\0" + entry).digest()


def root(leaves):
    """RFC 6962, 2.1."""
    if len(leaves) < 2:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\1" + root(leaves[:split]) + root(leaves[split:])).digest()


previous, leaves, checkpoints = bytes(32), [], 0
for link in chain:
    if link["kind"] == "checkpoint":
        name, size, signed = link["note"].split("\n")[:3]
        assert int(size) == len(leaves) == link["position"], link
        assert base64.b64decode(signed) == root(leaves), link
        checkpoints += 1
        continue
    stream, seq = link["fact_stream"], link["fact_seq"]
    row, values = facts.pop((stream, seq))
    entry = {"fact": values, "previous": previous.hex(), "row": row, "seq": seq, "stream": stream}
    entry = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    previous = leaf(entry.encode())
    assert previous.hex() == link["hash"], (link, entry)
    leaves.append(previous)
assert not facts
print(f"{len(leaves)} facts, {checkpoints} checkpoints")
