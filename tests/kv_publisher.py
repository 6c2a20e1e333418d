"""A publisher of KV events over real ZeroMQ sockets, on the wire as vLLM's."""

import asyncio

import msgspec
import zmq
import zmq.asyncio

from router.decide.affinity_blocks import BLOCK_TOKENS


def stored(names, parent, token_ids, *, block_size=BLOCK_TOKENS, form="map", **fields):
    """A BlockStored event in one of the forms that vLLM's versions send."""
    values = {
        "block_hashes": names,
        "parent_block_hash": parent,
        "token_ids": list(token_ids),
        "block_size": block_size,
        "lora_id": None,
        "medium": "GPU",
        "lora_name": None,
    } | fields
    return (
        ["BlockStored", *values.values()] if form == "array" else {"type": "BlockStored"} | values
    )


def removed(names, *, form="map"):
    """A BlockRemoved event."""
    return (
        ["BlockRemoved", names, "GPU"]
        if form == "array"
        else {"type": "BlockRemoved", "block_hashes": names, "medium": "GPU"}
    )


def cleared(*, form="map"):
    """An AllBlocksCleared event."""
    return ["AllBlocksCleared"] if form == "array" else {"type": "AllBlocksCleared"}


def batch(*events, form="array"):
    """A batch, packed."""
    whole = {"ts": 0.0, "events": list(events)} if form == "map" else [0.0, list(events), 0]
    return msgspec.msgpack.encode(whole)


class KvPublisher:
    """Publishes numbered batches and replays those that it still has. An async context."""

    def __init__(self, *, port=None, keep=100, replays_topic=True):
        self.between = [b"kv"] if replays_topic else []  # newer vLLMs send it, older ones do not
        self.context = zmq.asyncio.Context()
        self.live = self.context.socket(zmq.XPUB)
        self.live.setsockopt(zmq.XPUB_VERBOSE, 1)
        if port is None:
            self.port = self.live.bind_to_random_port("tcp://127.0.0.1")
        else:
            self.port = port
            self.live.bind(f"tcp://127.0.0.1:{port}")
        self.router = self.context.socket(zmq.ROUTER)
        self.replay_port = self.router.bind_to_random_port("tcp://127.0.0.1")
        self.keep, self.number, self.past = keep, 0, []

    async def __aenter__(self):
        self.task = asyncio.create_task(self._replay())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        self.context.destroy(linger=0)

    async def subscribed(self):
        """Until somebody listens."""
        await asyncio.wait_for(self.live.recv(), 10.0)

    async def publish(self, *events, is_lost=False, form="array"):
        """Send a batch; a lost one is only there for the replay."""
        payload = events[0] if isinstance(events[0], bytes) else batch(*events, form=form)
        self.past = [*self.past, (self.number, payload)][-self.keep :]
        if not is_lost:
            await self.live.send_multipart([b"kv", self.number.to_bytes(8, "big"), payload])
        self.number += 1

    async def _replay(self):
        while True:
            client, empty, first = await self.router.recv_multipart()
            for number, payload in self.past:
                if number >= int.from_bytes(first, "big"):
                    await self.router.send_multipart(
                        [client, empty, *self.between, number.to_bytes(8, "big"), payload]
                    )
            await self.router.send_multipart(
                [client, empty, *self.between, (-1).to_bytes(8, "big", signed=True), b""]
            )
