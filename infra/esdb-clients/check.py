"""The official Python client against a server of EventStoreDB's protocol: check.py ADDRESS.

Appends, reads both ways, follows with a filter and goes on from its checkpoint.
"""

import json
import sys
from itertools import islice
from uuid import uuid4

from kurrentdbclient import CaughtUp, Checkpoint, KurrentDBClient, NewEvent, StreamState
from kurrentdbclient.exceptions import NotFoundError, WrongCurrentVersionError


def event(number: int) -> NewEvent:
    return NewEvent(type="note.written.v1", data=json.dumps({"number": number}).encode())


def numbers(events) -> list[int]:
    return [json.loads(event.data)["number"] for event in events]


def until_caught_up(subscription) -> tuple[list, int | None]:
    """The events, and the checkpoint, up to where the log ends."""
    events, checkpoint = [], None
    for item in subscription:
        if isinstance(item, CaughtUp):
            break
        if isinstance(item, Checkpoint):
            checkpoint = item.commit_position
        else:
            events.append(item)
    subscription.stop()
    return events, checkpoint


client = KurrentDBClient(uri=f"kdb://{sys.argv[1]}?Tls=false")
run = uuid4().hex
stream, other = f"note-{run}", f"aside-{run}"

# Appends, one event and several, at the revision that is expected.
client.append_to_stream(stream, current_version=StreamState.NO_STREAM, events=event(0))
client.append_to_stream(stream, current_version=0, events=[event(1), event(2)])
position = client.append_to_stream(other, current_version=StreamState.ANY, events=event(7))
try:
    client.append_to_stream(stream, current_version=0, events=event(9))
    raise AssertionError("a conflict was not told")
except WrongCurrentVersionError:
    pass

# Reads, both ways.
assert numbers(client.get_stream(stream)) == [0, 1, 2]
assert numbers(client.get_stream(stream, backwards=True, limit=2)) == [2, 1]
assert numbers(client.get_stream(stream, stream_position=1)) == [1, 2]
try:
    client.get_stream(f"nothing-{run}")
    raise AssertionError("a stream that is not there was read")
except NotFoundError:
    pass
newest = list(islice(client.read_all(backwards=True), 1))[0]
assert (newest.stream_name, newest.commit_position) == (other, position)
mine = client.read_all(filter_include=[stream], filter_by_stream_name=True)
assert numbers(mine) == [0, 1, 2]

# Follows with a filter, which passes over the other stream and says so with a checkpoint.
filtered = {
    "filter_include": [f"note-{run}"],
    "filter_by_stream_name": True,
    "filter_by_prefix": True,
    "include_checkpoints": True,
    "include_caught_up": True,
    "timeout": 30,
}
seen, checkpoint = until_caught_up(client.subscribe_to_all(**filtered))
assert numbers(seen) == [0, 1, 2]
assert checkpoint is not None and checkpoint >= position, (checkpoint, position)
client.append_to_stream(stream, current_version=2, events=event(3))
seen, _ = until_caught_up(client.subscribe_to_all(commit_position=checkpoint, **filtered))
assert numbers(seen) == [3]

# Live, on one stream.
subscription = client.subscribe_to_stream(stream, stream_position=2, timeout=30)
client.append_to_stream(stream, current_version=3, events=event(4))
assert numbers(islice(subscription, 2)) == [3, 4]
subscription.stop()
client.close()
print("kurrentdbclient (Python): appends, reads and follows")
