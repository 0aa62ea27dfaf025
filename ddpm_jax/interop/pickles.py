"""Pickles, read and not run.

A pickle is a program for a machine with a stack, and Python's own machine imports and
calls whatever the program names. This one knows the opcodes that build plain data, and
of names only those that its caller allows, with what shall stand for each.
"""

import dataclasses
import pickletools
from collections.abc import Callable
from collections.abc import Mapping
from typing import IO
from typing import Any

MARK = object()


@dataclasses.dataclass
class Machine:
    """The stack, the memo, and what names and references to storage stand for."""

    allowed: Mapping[str, Any]  # "module.name" -> what stands for it
    persistent: Callable[[Any], Any]  # what stands for a persistent id
    stack: list[Any] = dataclasses.field(default_factory=list)
    memo: dict[int, Any] = dataclasses.field(default_factory=dict)

    def since_mark(self) -> list[Any]:
        """Takes what lies above the topmost mark, and the mark, from the stack."""
        place = max(i for i, value in enumerate(self.stack) if value is MARK)
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values

    def look_up(self, name: str) -> None:
        """Pushes what stands for a name, or refuses it."""
        if name not in self.allowed:
            raise ValueError(
                f"it asks for {name}, and only tensors in dicts are read; no code of "
                "a file is run"
            )
        self.stack.append(self.allowed[name])

    def set_items(self, values: list[Any]) -> None:
        """Puts keys and values, in turn, into the dict on top of the stack."""
        if type(self.stack[-1]) is not dict:
            raise ValueError("its pickle sets items of something other than a dict")
        if not all(isinstance(key, str | int | float | None) for key in values[::2]):
            raise ValueError("its pickle has a dict whose keys are containers")
        self.stack[-1].update(zip(values[::2], values[1::2], strict=True))

    def extend(self, values: list[Any]) -> None:
        """Appends values to the list on top of the stack."""
        if type(self.stack[-1]) is not list:
            raise ValueError("its pickle appends to something other than a list")
        self.stack[-1].extend(values)

    def reduce(self) -> None:
        """Calls what stands for a name with the tuple on top of the stack."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if not callable(function) or type(arguments) is not tuple:
            raise ValueError("its pickle calls something that is no function")
        self.stack.append(function(*arguments))

    def build(self) -> None:
        """Drops the attributes of a dict, such as the versions in a state dict."""
        self.stack.pop()
        if type(self.stack[-1]) is not dict:
            raise ValueError(
                "its pickle sets attributes of something other than a dict"
            )

    def take(self, count: int) -> tuple[Any, ...]:
        """Takes the topmost values from the stack, in the order they were pushed."""
        return tuple(self.stack.pop() for _ in range(count))[::-1]


VALUES = frozenset(
    "BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT BINUNICODE SHORT_BINUNICODE "
    "BINUNICODE8 BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES".split()
)
"""Opcodes whose argument is the value that they push."""

OPCODES: dict[str, Callable[[Machine, Any], object]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": lambda machine, _: machine.stack.append(MARK),
    "NONE": lambda machine, _: machine.stack.append(None),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.since_mark())),
    "TUPLE1": lambda machine, _: machine.stack.append(machine.take(1)),
    "TUPLE2": lambda machine, _: machine.stack.append(machine.take(2)),
    "TUPLE3": lambda machine, _: machine.stack.append(machine.take(3)),
    "SETITEM": lambda machine, _: machine.set_items(list(machine.take(2))),
    "SETITEMS": lambda machine, _: machine.set_items(machine.since_mark()),
    "APPEND": lambda machine, _: machine.extend(list(machine.take(1))),
    "APPENDS": lambda machine, _: machine.extend(machine.since_mark()),
    "BINPUT": lambda machine, i: machine.memo.update({i: machine.stack[-1]}),
    "LONG_BINPUT": lambda machine, i: machine.memo.update({i: machine.stack[-1]}),
    "MEMOIZE": lambda machine, _: machine.memo.update(
        {len(machine.memo): machine.stack[-1]}
    ),
    "BINGET": lambda machine, i: machine.stack.append(machine.memo[i]),
    "LONG_BINGET": lambda machine, i: machine.stack.append(machine.memo[i]),
    "GLOBAL": lambda machine, name: machine.look_up(name.replace(" ", ".")),
    "STACK_GLOBAL": lambda machine, _: machine.look_up(".".join(machine.take(2))),
    "BINPERSID": lambda machine, _: machine.stack.append(
        machine.persistent(machine.stack.pop())
    ),
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
}
"""What the other opcodes do, given their argument."""


def read_pickle(
    stream: IO[bytes],
    *,
    allowed: Mapping[str, Any],
    persistent: Callable[[Any], Any],
) -> Any:  # noqa: ANN401
    """The value of one pickle; the stream then stands behind it.

    allowed maps the names that the pickle may use, such as "collections.OrderedDict",
    to what stands for them; persistent does so for ids of things outside the pickle.

    Raises:
      ValueError: if the pickle names or does anything else, or is damaged.

    Example:
      >>> import io, os, pickle
      >>> def read(value):
      ...     return read_pickle(
      ...         io.BytesIO(pickle.dumps(value)), allowed={}, persistent=repr)
      >>> read({"steps": [1, 2.5, (None, True)]})
      {'steps': [1, 2.5, (None, True)]}
      >>> read(os.getcwd)
      Traceback (most recent call last):
      ValueError: it asks for posix.getcwd, and only tensors in dicts are read; ...
    """
    machine = Machine(allowed, persistent)
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return machine.stack.pop()
            if opcode.name in VALUES:
                machine.stack.append(argument)
            elif opcode.name in OPCODES:
                OPCODES[opcode.name](machine, argument)
            else:
                raise ValueError(
                    f"its pickle uses {opcode.name}, and only tensors in dicts are read"
                )
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError(f"its pickle is damaged: {error!r}") from None
    raise ValueError("its pickle has no end")
