"""Messages between a job and the processes that read for it: a pickle, then the bytes of its tensors as they are.

A tensor's bytes go from the socket right to where the GPU copies them from; pickled, they would be copied three times.
"""

import io
import pickle
import socket
from typing import Any

import torch

from vqaflow.model.features.host_memory import empty

LENGTH = 8  # bytes of a message's first number


class Ended(Exception):
    """The other side has closed the socket: its process is gone, or has no more to say."""


class _Pickler(pickle.Pickler):
    """Puts tensors aside."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.tensors: list[torch.Tensor] = []

    def persistent_id(self, obj: Any) -> int | None:
        """A tensor's number in the message; None for all else."""
        if not isinstance(obj, torch.Tensor):
            return None
        self.tensors.append(obj.detach().contiguous())
        return len(self.tensors) - 1


class _Unpickler(pickle.Unpickler):
    """Puts tensors back."""

    def __init__(self, data: bytes, tensors: list[torch.Tensor]) -> None:
        super().__init__(io.BytesIO(data))
        self.tensors = tensors

    def persistent_load(self, pid: int) -> torch.Tensor:
        """The tensor with this number."""
        return self.tensors[pid]


def send(to: socket.socket, message: Any) -> None:
    """Send a message: anything that can be pickled, with tensors on the CPU anywhere in it."""
    text = io.BytesIO()
    pickler = _Pickler(text)
    pickler.dump(message)
    kinds = pickle.dumps([(tensor.dtype, tuple(tensor.shape)) for tensor in pickler.tensors])
    try:
        for part in (kinds, text.getvalue()):
            to.sendall(len(part).to_bytes(LENGTH, "little"))
            to.sendall(part)
        for tensor in pickler.tensors:
            to.sendall(memoryview(tensor.view(-1).view(torch.uint8).numpy()))
    except (BrokenPipeError, ConnectionResetError) as error:
        raise Ended from error


def receive(source: socket.socket, pin: bool = False) -> Any:
    """The next message; its tensors are in page-locked memory if `pin`. Raises Ended if there is none to come."""
    kinds, text = pickle.loads(_part(source)), _part(source)
    tensors = []
    for dtype, shape in kinds:
        whole = empty(shape, dtype, pin)
        _fill(source, memoryview(whole.view(-1).view(torch.uint8).numpy()))
        tensors.append(whole)
    return _Unpickler(text, tensors).load()


def _part(source: socket.socket) -> bytearray:
    length = bytearray(LENGTH)
    _fill(source, memoryview(length))
    part = bytearray(int.from_bytes(length, "little"))
    _fill(source, memoryview(part))
    return part


def _fill(source: socket.socket, place: memoryview) -> None:
    """Receive as many bytes as `place` has."""
    while place:
        try:
            count = source.recv_into(place)
        except ConnectionResetError as error:
            raise Ended from error
        if not count:
            raise Ended
        place = place[count:]
