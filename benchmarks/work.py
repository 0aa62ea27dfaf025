"""What a comparison asks of every worker, and which workers there are."""

import dataclasses
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from typing import Literal
from typing import NamedTuple

import tyro

Kind = Literal["train", "sample"]
Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Task:
    """What a worker does in each of its turns."""

    kind: Annotated[Kind, tyro.conf.Positional]
    """train: update the weights by one batch; sample: take reverse steps."""
    ch: int = 128
    """Channels of the first level: 128 is the CIFAR-10 network."""
    batch_size: int = 8
    """Images of a turn."""
    dtype: Dtype = "float32"
    """Type of the large layers."""
    device: Literal["cpu", "gpu"] = "cpu"
    """Where the work is done."""
    steps: int = 10
    """Reverse steps of a turn; what is reported is the cost of one."""


def task_of(options: Task) -> Task:
    """The task in options that extend one."""
    names = [field.name for field in dataclasses.fields(Task)]
    return Task(**{name: getattr(options, name) for name in names})


class Work(NamedTuple):
    """A task made ready by one worker."""

    turn: Callable[[], object]  # does all of a turn, and returns when it is done
    parameters: int


class Peer(NamedTuple):
    """A worker: the module whose make(name, task) -> Work it runs, and its needs."""

    module: str
    packages: tuple[str, ...]
    same_network: bool = True
    kinds: tuple[Kind, ...] = ("train", "sample")


DIFFUSERS = Peer("benchmarks.peers", ("torch", "diffusers"))
PEERS = {
    "ours": Peer("benchmarks.ours", ()),
    "diffusers-eager": DIFFUSERS,
    "diffusers-channels-last": DIFFUSERS,
    "diffusers-compile": DIFFUSERS,
    "diffusers-pipeline": DIFFUSERS._replace(kinds=("sample",)),
    "lucidrains-other-net": Peer(
        "benchmarks.peers", ("torch", "denoising_diffusion_pytorch"), same_network=False
    ),
}


def check_peers(names: tuple[str, ...], kind: Kind) -> None:
    """Raises unless each name is of a peer that does this kind of work here.

    Raises:
        ValueError: a name is unknown, or of a peer that does other work only.
        ModuleNotFoundError: a package is missing; says which extra installs it.
    """
    for name in names:
        if name not in PEERS:
            raise ValueError(f"there is no peer {name}; there are {', '.join(PEERS)}")
        if kind not in PEERS[name].kinds:
            raise ValueError(
                f"{name} can {' and '.join(PEERS[name].kinds)}, not {kind}"
            )
        for package in PEERS[name].packages:
            if importlib.util.find_spec(package) is None:
                raise ModuleNotFoundError(
                    f"{name} needs the package {package}, which is not installed: "
                    'pip install -e ".[benchmarks]"'
                )


def default_peers(kind: Kind) -> tuple[str, ...]:
    """This project and all that run the same network."""
    return tuple(
        name for name, peer in PEERS.items() if peer.same_network and kind in peer.kinds
    )
