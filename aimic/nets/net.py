"""A network with one head for our classes: what is trained, what stays, what is served."""

import re
from collections.abc import Iterator, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from aimic.errors import InvalidInputError
from aimic.nets.architectures import architecture, blocks
from aimic.nets.info import WeightsCard
from aimic.nets.preprocessing import Preprocessing

_MODE = re.compile(r"full|frozen|last:([1-9]\d*)")


class Net:
    """A torchvision network whose last linear layer gives our classes.

    Not thread-safe while training.
    """

    def __init__(
        self,
        network: str,
        module: nn.Module,
        preprocessing: Preprocessing,
        weights_card: WeightsCard,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.network = network
        self.module = module
        self.preprocessing = preprocessing
        self.weights_card = weights_card
        self._notes = notes
        self.mode = "full"
        self._blocks = blocks(network, module)
        self._frozen: tuple[str, ...] = ()
        self._auxiliaries = {
            auxiliary: head
            for auxiliary in architecture(network).auxiliaries
            if isinstance(head := getattr(module, auxiliary.name, None), nn.Module)
        }

    @property
    def head(self) -> nn.Linear:
        """The last linear layer."""
        return cast(nn.Linear, self.module.get_submodule(architecture(self.network).head))

    @property
    def classes(self) -> int:
        """How many classes the head gives."""
        return self.head.out_features

    @property
    def notes(self) -> tuple[str, ...]:
        """What training does differently from the book, in words; it is all about auxiliary heads, which
        frozen mode has none of.
        """
        return () if self.mode == "frozen" else self._notes

    @property
    def transform_input(self) -> bool:
        """Whether the module renormalises its input itself (GoogLeNet and Inception-v3 with weights)."""
        return bool(getattr(self.module, "transform_input", False))

    @property
    def blocks(self) -> tuple[tuple[str, ...], ...]:
        """Names of the layers of each block, from input to output; `last:N` takes the last N."""
        return self._blocks

    def set_mode(self, mode: str) -> None:
        """Choose what learns: `full`, `frozen` (the head alone) or `last:N` (last N blocks and the head).

        What does not learn is frozen whole: its parameters, and its batch-norm statistics too. Auxiliary
        heads stay only where the block they read learns. InvalidInputError for an N beyond the network.
        """
        learning = self._learning_blocks(mode)
        first = len(self._blocks) - learning
        self._frozen = tuple(name for block in self._blocks[:first] for name in block)
        self.mode = mode
        self.module.requires_grad_(True)
        for name in self._frozen:
            self.module.get_submodule(name).requires_grad_(False)
        self._attach_auxiliaries()
        self.train(self.module.training)

    def _learning_blocks(self, mode: str) -> int:
        match = _MODE.fullmatch(mode)
        if match is None:
            raise InvalidInputError(f"There is no mode {mode!r}. Choose full, frozen or last:N.")
        if match[1] is None:
            return 0 if mode == "frozen" else len(self._blocks)
        most = len(self._blocks)
        if int(match[1]) > most:
            raise InvalidInputError(
                f"{self.network} has {most} blocks, so last:{match[1]} can't be. "
                f"Choose last:1 to last:{most}, or mode full.",
                most=most,
            )
        return int(match[1])

    def _attach_auxiliaries(self) -> None:
        kept = {name: head for name, head in self._auxiliaries.items() if name.after not in self._frozen}
        for auxiliary in self._auxiliaries:
            setattr(self.module, auxiliary.name, kept.get(auxiliary))
        if self._auxiliaries:
            setattr(self.module, "aux_logits", bool(kept))  # noqa: B010  # typed as a submodule otherwise

    def train(self, training: bool = True) -> None:
        """Like nn.Module.train, but frozen parts stay in evaluation mode."""
        self.module.train(training and self.mode != "frozen")
        for name in self._frozen:
            self.module.get_submodule(name).eval()

    def trainable(self) -> Iterator[nn.Parameter]:
        """The parameters that learn in this mode."""
        return (parameter for parameter in self.module.parameters() if parameter.requires_grad)

    def forward_train(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits [n, classes] and those of the auxiliary heads in use: GoogLeNet two, Inception-v3 one.

        Each auxiliary loss counts 0.3 in torchvision's recipe. Outside training mode there are none.
        """
        output = self.module(x)
        if isinstance(output, Tensor):
            return output, ()
        logits, *auxiliary = output
        return logits, tuple(value for value in auxiliary if value is not None)

    def features(self, x: Tensor) -> Tensor:
        """What the head reads, [n, head.in_features]: in evaluation mode head(features(x)) == module(x)."""
        seen: list[Tensor] = []
        with self.head.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0])):
            self.module(x)
        return seen[0]

    def state(self) -> dict[str, Tensor]:
        """The serving network's tensors: a copy on the CPU, contiguous, without auxiliary heads."""
        skipped = tuple(f"{auxiliary.name}." for auxiliary in self._auxiliaries)
        return {
            name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
            for name, tensor in self.module.state_dict().items()
            if not name.startswith(skipped)
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take over the tensors of `state()`; auxiliary heads stay.

        InvalidInputError when they don't fit; nothing is taken over then.
        """
        skipped = tuple(f"{auxiliary.name}." for auxiliary in self._auxiliaries)
        own = {name: tensor.shape for name, tensor in self.module.state_dict().items() if not name.startswith(skipped)}
        given = {name: tensor.shape for name, tensor in state.items()}
        wrong = sorted({*own.items()} ^ {*given.items()})
        if wrong:
            names = ", ".join(dict.fromkeys(name for name, _ in wrong[:3]))
            raise InvalidInputError(f"These weights don't belong to {self.network}: look at {names}.")
        self.module.load_state_dict(state, strict=False)
