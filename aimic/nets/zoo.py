"""Building networks: torchvision's definitions, the chosen weights, a head for our classes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from aimic.domain.networks import NETWORKS
from aimic.errors import InvalidInputError
from aimic.nets.architectures import architecture, check_size, construct
from aimic.nets.info import BundleInfo
from aimic.nets.net import Net
from aimic.nets.preprocessing import IMAGENET_MEAN, IMAGENET_STD, PLAIN, Preprocessing
from aimic.nets.weights import Found, Weights, resolve


def build(
    network: str,
    classes: int,
    image_size: int,
    weights: Weights,
    *,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
) -> Net:
    """A network to train, in mode `full` and training state, on the CPU in channels_last layout.

    The same seed gives the same bits, whatever was drawn before. The head starts anew (normal, sd 0.01, bias
    0), except from an earlier model whose classes are exactly `class_names`. InvalidInputError when the image
    is too small for the network, or the weights are missing or another network's.
    """
    check_size(network, image_size)
    if classes < 1:
        raise InvalidInputError("A network needs at least one class.")
    found = resolve(network, weights)
    auxiliary, notes = _auxiliary(network, image_size)
    with _seeded(seed):
        module = construct(
            network,
            transform_input=_transforms_input(network, found),
            auxiliary=auxiliary,
            initialise=not found.state,
        )
        notes += _take_over(network, module, found)
        kept = found.info is not None and class_names is not None and found.info.classes == tuple(class_names)
        _replace_heads(network, module, classes)
        if kept:
            _copy_head(network, module, found.state)
    module.to(memory_format=torch.channels_last)
    card = found.card.model_copy(update={"head_replaced": not kept})
    return Net(network, module, _preprocessing(image_size, found), card, notes)


def restore(info: BundleInfo, state: dict[str, Tensor]) -> Net:
    """The serving network of a bundle, in evaluation mode. InvalidInputError when the tensors don't fit."""
    architecture(info.network)
    with torch.device("meta"):
        module = construct(info.network, transform_input=info.transform_input, auxiliary=False, initialise=False)
        _set(module, architecture(info.network).head, nn.Linear(info.head.features, len(info.classes)))
    try:
        module.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise InvalidInputError(f"These weights don't belong to {info.network}: {error}") from error
    module.requires_grad_(False)
    module.to(memory_format=torch.channels_last)
    net = Net(info.network, module, info.preprocessing, info.weights_card, info.notes)
    net.train(False)
    return net


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Draws inside come from `seed`; the global CPU generator is as before afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield


def _auxiliary(network: str, image_size: int) -> tuple[bool, tuple[str, ...]]:
    known = architecture(network)
    if not known.auxiliaries:
        return False, ()
    if image_size >= known.auxiliary_size:
        return True, ()
    note = (
        f"{NETWORKS[network].title} trains without its auxiliary head at {image_size} px; "
        f"that head needs {known.auxiliary_size} px."
    )
    return False, (note,)


def _transforms_input(network: str, found: Found) -> bool:
    if found.info is not None:
        return found.info.transform_input
    return architecture(network).inits and bool(found.state)


def _preprocessing(image_size: int, found: Found) -> Preprocessing:
    if found.info is not None:
        return found.info.preprocessing.model_copy(update={"image_size": image_size})
    if found.state:
        return Preprocessing(image_size=image_size, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return Preprocessing(image_size=image_size, mean=PLAIN, std=PLAIN)


def _take_over(network: str, module: nn.Module, found: Found) -> tuple[str, ...]:
    """Copy the file's tensors into the module; every one of the backbone must be there, and none too many."""
    if not found.state:
        return ()
    known = architecture(network)
    names = tuple(f"{auxiliary.name}." for auxiliary in known.auxiliaries)
    own = module.state_dict()
    given = {name: tensor for name, tensor in found.state.items() if not name.startswith((f"{known.head}.", *names))}
    backbone = {name: t for name, t in own.items() if not name.startswith((f"{known.head}.", *names))}
    _check_backbone(network, found, backbone, given)
    last = tuple(f"{auxiliary.name}.{auxiliary.last}." for auxiliary in known.auxiliaries)
    wanted = {n: t for n, t in own.items() if n.startswith(names) and not n.startswith(last)} if names else {}
    spare, notes = _auxiliary_state(found.state, wanted)
    module.load_state_dict({**given, **spare}, strict=False)
    return notes


def _check_backbone(network: str, found: Found, backbone: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    # Files from before 2018 have no batch counters; nothing depends on them.
    missing = [n for n in backbone if n not in given and not n.endswith("num_batches_tracked")]
    unknown = [name for name in given if name not in backbone]
    shapes = [n for n in given if n in backbone and given[n].shape != backbone[n].shape]
    broken = [n for n, t in given.items() if t.is_floating_point() and not bool(torch.isfinite(t).all())]
    problems = (
        ("lacks", missing),
        ("has tensors of another network, such as", unknown),
        ("has tensors of another shape, such as", shapes),
        ("has values that are no numbers, in", broken),
    )
    for words, wrong in problems:
        if wrong:
            some = ", ".join(wrong[:3]) + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
            raise InvalidInputError(
                f"The weights ({found.card.source}) don't fit {NETWORKS[network].title}: the file {words} {some}. "
                "Nothing was trained. Choose the file of this network under torchvision's tensor names.",
                tensors=wrong[:20],
            )


def _auxiliary_state(state: dict[str, Tensor], wanted: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The file's auxiliary heads where they fit; otherwise they start anew, and the note says so."""
    fitting = {name: state[name] for name, t in wanted.items() if name in state and state[name].shape == t.shape}
    if len(fitting) == len(wanted):
        return fitting, ()
    return {}, ("The weights have no auxiliary heads that fit; these start anew.",)


def _replace_heads(network: str, module: nn.Module, classes: int) -> None:
    known = architecture(network)
    _set(module, known.head, _new_linear(module, known.head, classes))
    for auxiliary in known.auxiliaries:
        if getattr(module, auxiliary.name, None) is not None:
            path = f"{auxiliary.name}.{auxiliary.last}"
            _set(module, path, _new_linear(module, path, classes))


def _new_linear(module: nn.Module, path: str, classes: int) -> nn.Linear:
    """Small weights: the first loss is ln(classes), however large the features are."""
    old = module.get_submodule(path)
    assert isinstance(old, nn.Linear)
    linear = nn.Linear(old.in_features, classes)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return linear


def _copy_head(network: str, module: nn.Module, state: dict[str, Tensor]) -> None:
    name = architecture(network).head
    head = module.get_submodule(name)
    head.load_state_dict({"weight": state[f"{name}.weight"], "bias": state[f"{name}.bias"]})


def _set(module: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, layer)
