"""A pickle machine that calls nothing: it walks the opcodes and writes down what they would call.

Pickles are programs for a small stack machine. This one runs them on symbols: strings and numbers
are themselves, an import is an `Imported`, a call a `Called`. So names that a program puts together
from its stack or its memo are seen as the real machine would see them.
"""

import io
import pickletools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Imported:
    """Something that a pickle imports by name."""

    module: str
    name: str

    def __str__(self) -> str:
        """Dotted, with control characters escaped."""
        return ascii(f"{self.module}.{self.name}")[1:-1]


@dataclass(frozen=True, eq=False, repr=False)
class Called:
    """The result of a call that a pickle asks for."""

    function: Any
    arguments: Any

    def __repr__(self) -> str:
        """The call as Python would write it, cut short."""
        return show(self)


@dataclass
class Walk:
    """What one pickle would do: its imports and calls in order, and where walking it failed."""

    imports: list[Imported] = field(default_factory=list)
    calls: list[Called] = field(default_factory=list)
    protocol: int = 0
    trouble: str = ""


def walk(stream: io.BytesIO) -> Walk:
    """Walk one pickle from where `stream` stands to its end; nothing is imported or called."""
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            machine.step(opcode.name, argument)
    except (ValueError, IndexError, KeyError, struct.error, OverflowError, MemoryError) as error:
        machine.found.trouble = f"{type(error).__name__}: {error}"
    return machine.found


def show(value: Any, depth: int = 4) -> str:
    """A symbol in a few characters; nested ones are cut at `depth`, so cycles do no harm."""
    if isinstance(value, Imported):
        return str(value)
    if isinstance(value, str | bytes | bytearray):
        return ascii(value[:60]) + ("..." if len(value) > 60 else "")
    if not isinstance(value, Called | list | tuple):
        return ascii(value)[:60]
    if depth < 1:
        return "..."
    if isinstance(value, Called):
        arguments = value.arguments if isinstance(value.arguments, tuple) else (value.arguments,)
        return f"{show(value.function, depth - 1)}({_run(arguments, depth - 1)})"
    return f"[{_run(value, depth - 1)}]"


def _run(values: Sequence[Any], depth: int) -> str:
    """The first few of a sequence of symbols."""
    more = ", ..." if len(values) > 4 else ""
    return ", ".join(show(one, depth) for one in values[:4]) + more


class _Machine:
    """The stack, its marks and the memo. `step` is one opcode; `found` is what it learnt."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[Any, Any] = {}
        self.found = Walk()

    def step(self, name: str, argument: Any) -> None:
        """Do one opcode; raises IndexError or KeyError where the stack or memo is too short."""
        if name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _LITERALS:
            self.stack.append(argument)
        elif name in _HANDLERS:
            _HANDLERS[name](self, argument)
        else:
            raise ValueError(f"opcode {name} is not known")

    def since_mark(self) -> list[Any]:
        """Everything above the last mark, which goes."""
        above, self.stack = self.stack, self.marks.pop()
        return above

    def mark(self) -> None:
        """Begin a new run of items."""
        self.marks.append(self.stack)
        self.stack = []

    def pop(self, count: int = 1) -> list[Any]:
        """The topmost `count` symbols, in the order in which they were pushed."""
        if len(self.stack) < count:
            raise IndexError("a stack that is too short")
        taken = self.stack[-count:]
        del self.stack[-count:]
        return taken

    def proto(self, protocol: int) -> None:
        """Note the protocol."""
        self.found.protocol = max(self.found.protocol, protocol)

    def name(self, module: Any, name: Any) -> Imported:
        """Import a global; what is no plain string cannot be resolved and is so named."""
        known = isinstance(module, str) and isinstance(name, str)
        imported = Imported(module, name) if known else Imported(show(module), show(name))
        self.found.imports.append(imported)
        return imported

    def call(self, function: Any, arguments: Any) -> None:
        """Write a call down and push its result."""
        called = Called(function, arguments)
        self.found.calls.append(called)
        self.stack.append(called)

    def build(self, _: Any) -> None:
        """Give an object its state, which calls its `__setstate__`; the object stays."""
        target, state = self.pop(2)
        if not isinstance(target, Called) or not isinstance(target.function, Imported):
            self.found.calls.append(Called(Imported(show(target), "__setstate__"), (state,)))
        self.stack.append(target)

    def extend(self, items: list[Any]) -> None:
        """Put items into the container on top; one that is no container is called to take them."""
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)

    def put(self, key: Any) -> None:
        """Memorise the top of the stack under `key`, or under the next number."""
        self.memo[len(self.memo) if key is None else key] = self.stack[-1]

    def from_pair(self, text: str) -> Imported:
        """Import what GLOBAL and INST name in their own argument."""
        module, _, name = text.partition(" ")
        return self.name(module, name)

    def inst(self, text: str) -> None:
        """Call what the argument names with everything since the mark."""
        self.call(self.from_pair(text), tuple(self.since_mark()))

    def obj(self, _: Any) -> None:
        """Call the first item since the mark with the others."""
        function, *arguments = self.since_mark()
        self.call(function, tuple(arguments))

    def extension(self, code: Any) -> None:
        """Import by a number that the reading machine's own registry resolves."""
        self.stack.append(self.name("copyreg.extension", str(code)))


def _push(make: Callable[[_Machine], Any]) -> Callable[[_Machine, Any], None]:
    def handler(machine: _Machine, _: Any) -> None:
        """Push what is made."""
        made = make(machine)  # first, as it may put another stack in place
        machine.stack.append(made)

    return handler


def _drop(take: Callable[[_Machine], Any]) -> Callable[[_Machine, Any], None]:
    def handler(machine: _Machine, _: Any) -> None:
        """Take, and push nothing."""
        take(machine)

    return handler


def _pop(machine: _Machine, _: Any) -> None:
    if machine.stack:
        machine.stack.pop()
    else:  # as in the real machine, which lets POP take a mark away
        machine.since_mark()


def _stored(key: Any) -> Any:
    """What torch hands out for a persistent id: a storage, or the class of a whole model."""
    return key[1] if isinstance(key, tuple) and key[:1] == ("module",) and key[1:] else "a storage"


def _get(machine: _Machine, key: Any) -> None:
    machine.stack.append(machine.memo[key])


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}

# Opcodes that push their own argument.
_LITERALS = frozenset(
    opcode.name
    for opcode in pickletools.opcodes
    if opcode.arg is not None and not opcode.stack_before and len(opcode.stack_after) == 1
) - {"GLOBAL", "PERSID", "GET", "BINGET", "LONG_BINGET", "EXT1", "EXT2", "EXT4"}

_HANDLERS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": _Machine.proto,
    "FRAME": lambda machine, _: None,
    "STOP": _drop(lambda machine: machine.pop()),
    "MARK": _drop(_Machine.mark),
    "POP": _pop,
    "POP_MARK": _drop(_Machine.since_mark),
    "DUP": _push(lambda machine: machine.stack[-1]),
    "EMPTY_LIST": _push(lambda _: []),
    "EMPTY_DICT": _push(lambda _: []),
    "EMPTY_SET": _push(lambda _: []),
    "EMPTY_TUPLE": _push(lambda _: ()),
    "LIST": _push(lambda machine: machine.since_mark()),
    "DICT": _push(lambda machine: machine.since_mark()),
    "FROZENSET": _push(lambda machine: machine.since_mark()),
    "TUPLE": _push(lambda machine: tuple(machine.since_mark())),
    "TUPLE1": _push(lambda machine: tuple(machine.pop(1))),
    "TUPLE2": _push(lambda machine: tuple(machine.pop(2))),
    "TUPLE3": _push(lambda machine: tuple(machine.pop(3))),
    "APPEND": _drop(lambda machine: machine.extend(machine.pop(1))),
    "SETITEM": _drop(lambda machine: machine.extend(machine.pop(2))),
    "APPENDS": _drop(lambda machine: machine.extend(machine.since_mark())),
    "SETITEMS": _drop(lambda machine: machine.extend(machine.since_mark())),
    "ADDITEMS": _drop(lambda machine: machine.extend(machine.since_mark())),
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.put,
    "GET": _get,
    "BINGET": _get,
    "LONG_BINGET": _get,
    "GLOBAL": lambda machine, text: machine.stack.append(machine.from_pair(text)),
    "STACK_GLOBAL": _push(lambda machine: machine.name(*machine.pop(2))),
    "INST": _Machine.inst,
    "OBJ": _Machine.obj,
    "REDUCE": _drop(lambda machine: machine.call(*machine.pop(2))),
    "NEWOBJ": _drop(lambda machine: machine.call(*machine.pop(2))),
    "NEWOBJ_EX": _drop(lambda machine: machine.call(*machine.pop(3)[:2])),
    "BUILD": _Machine.build,
    "EXT1": _Machine.extension,
    "EXT2": _Machine.extension,
    "EXT4": _Machine.extension,
    "PERSID": _push(lambda _: "a storage"),
    "BINPERSID": _push(lambda machine: _stored(machine.pop(1)[0])),
    "NEXT_BUFFER": _push(lambda _: "a storage"),
    "READONLY_BUFFER": lambda machine, _: None,
}
