"""What the broker's lists hold, before Celery sees it: a message of ours goes on, anything else is refused and told.

Who can write to Redis can write there: text that is no JSON would end a worker, a signature in a message would start tasks that
nobody sent, a packed body could fill the memory. So a message is read here to its last item, and what goes on is made anew.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable
from time import monotonic
from typing import Annotated, Any

import msgspec
from kombu.transport import redis
from msgspec import Meta

from monitor.core.endpoint import SLOTS_MAX
from monitor.core.errors import DECODE_ERRORS

MESSAGE_BYTES_MAX = 4_194_304
ITEMS_MAX = 1_000
"""Leases in one message: as many as the setting `batch_size` may name."""
TELL_EVERY_S = 10.0
"""Of each list no more than one refused message is told in this time; all are counted."""

Number = Annotated[int, Meta(ge=0, le=2**53)]
Slot = Annotated[int, Meta(ge=0, lt=SLOTS_MAX)]
Items = Annotated[list[tuple[str, Number, Number]], Meta(max_length=ITEMS_MAX)]

SHAPES: dict[str, Any] = {
    "probe_batch": tuple[Slot, Number, Items],
    "weigh_pools": tuple[Slot, Items],
    "reevaluate_endpoints": tuple[Slot, Items],
    "route_alerts": tuple[Slot],
    "flush_groups": tuple[Slot, Items],
    "end_unasserted": tuple[Slot, Items],
    "judge_traffic": tuple[Slot, Items],
    "deliver": tuple[Slot, Items],
}
"""The arguments of each task (tasks.py)."""


class _Headers(msgspec.Struct):
    task: str


class _Properties(msgspec.Struct):
    body_encoding: str


class _Message(msgspec.Struct, rename="kebab"):
    """What is read of a message in kombu's format and Celery's second protocol."""

    body: str
    content_type: str
    content_encoding: str
    headers: _Headers
    properties: msgspec.Raw


_decode = msgspec.json.Decoder(_Message).decode
_decode_properties = msgspec.json.Decoder(_Properties).decode


class Inspector:
    """Takes what BRPOP answers, and lets messages of ours in.

    `tell` takes the name of the list, what was refused, and why; `count` the name of a counter and by how much it grows.
    """

    def __init__(self) -> None:
        self.tell: Callable[[str, bytes, str], None] = lambda _queue, _data, _why: None
        self.count: Callable[[str, int], None] = lambda _name, _by: None
        self._told_s: dict[bytes, float] = {}

    def __call__(self, answer: Any, **_: Any) -> tuple[bytes, bytes] | None:
        """redis-py: the name of a list and its message, or None where there is none, or none of ours."""
        if not answer:
            return None
        queue, data = answer
        try:
            return queue, fresh(data)
        except DECODE_ERRORS as error:
            self.count("messages_refused", 1)
            now_s = monotonic()
            if now_s - self._told_s.get(queue, -TELL_EVERY_S) >= TELL_EVERY_S:
                self._told_s[queue] = now_s
                self.tell(queue.decode(errors="backslashreplace"), data, str(error) or type(error).__name__)
            return None


def fresh(data: bytes) -> bytes:
    """A message of ours, made anew from its task and its arguments. Raises one of DECODE_ERRORS for anything else."""
    if len(data) > MESSAGE_BYTES_MAX:
        raise ValueError(f"the message has {len(data)} bytes, more than {MESSAGE_BYTES_MAX}")
    message = _decode(data)
    if (message.content_type, message.content_encoding) != ("application/json", "utf-8"):
        raise ValueError("the message is no JSON in UTF-8")
    if _decode_properties(message.properties).body_encoding != "base64":
        raise ValueError("the message's body is not in base64")
    task = message.headers.task
    if task not in SHAPES:
        raise ValueError(f"no release that this process knows has a task {task[:100]!r}")
    arguments, named, embedded = msgspec.convert(
        json.loads(base64.b64decode(message.body, validate=True)), tuple[Any, dict[str, Any], dict[str, Any]]
    )
    if named or any(embedded.values()):
        raise ValueError("the message carries more than arguments")
    msgspec.convert(arguments, SHAPES[task])
    identity = str(uuid.uuid4())
    made = {
        "body": message.body,
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {"lang": "py", "task": task, "id": identity, "root_id": identity},
        "properties": {"delivery_tag": identity, "delivery_info": {"exchange": "", "routing_key": ""}, "body_encoding": "base64"},
    }
    return msgspec.json.encode(made)


INSPECTOR = Inspector()
"""That of this process."""


class Channel(redis.Channel):
    """Kombu's, whose messages are inspected as they are popped."""

    def _create_client(self, asynchronous: bool = False) -> Any:
        client = super()._create_client(asynchronous=asynchronous)  # type: ignore[no-untyped-call]
        client.set_response_callback("BRPOP", INSPECTOR)
        return client


class Transport(redis.Transport):
    """Kombu's, with our channels."""

    Channel = Channel
