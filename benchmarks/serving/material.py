"""What is shown and what is served: drawn images as JPEG, and the networks with weights drawn from seeds."""

import base64
import json
import tempfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from aimic.domain.executor import Judgement, reduced
from aimic.domain.networks import NETWORKS
from aimic.nets import bundle
from aimic.nets.executors.judging import present
from aimic.nets.info import Member
from aimic.nets.net import Net
from aimic.nets.normalise import normalise
from aimic.nets.package import Training, admit, check_inputs, package
from aimic.nets.preprocessing import to_pixels
from aimic.nets.weights import Weights
from aimic.nets.zoo import build
from aimic.settings import available_cpus
from services.inference.executors import EAGER
from services.local.demo.cells import KINDS, draw_set
from services.trainer.trying import Trying

CLASSES = ("basophil", "eosinophil", "erythroblast", "granulocyte", "lymphocyte", "monocyte", "neutrophil", "platelet")
BOUNDARY = "cells-of-the-benchmark"
MULTIPART = f"multipart/form-data; boundary={BOUNDARY}"
_QUALITY = 90
_PATIENTS = 5
_CENTRED_ON = 8


class Size(NamedTuple):
    """How much is measured."""

    images: int = 100
    side: int = 360
    """Pixels a side of the drawn images."""
    network_side: int | None = None
    """Pixels a side that the networks read; what each was designed for when not given."""
    small: str = "mobilenet_v2"
    large: str = "resnet50"
    networks: tuple[str, ...] = tuple(NETWORKS)
    rounds: int = 3
    """Of the order A B B A."""
    requests: int = 150
    """Of one client in each measurement."""
    seconds: float = 10.0
    """Of a measurement of throughput or overload."""
    runs: int = 10
    """Of the paper's Table 3."""
    executor: str = "auto"
    """What our networks run with, as AIMIC_INFERENCE_EXECUTOR."""


_TINY = "shufflenet_v2_x1_0"
QUICK = Size(
    images=20, side=64, network_side=64, small=_TINY, large=_TINY, networks=(_TINY,), rounds=1, requests=5,
    seconds=1.0, runs=2, executor="eager",
)  # fmt: skip
"""Shows that the harness works; its figures mean nothing."""


class Packed(NamedTuple):
    """A network as the registry hands it out."""

    hash: str
    file: Path


class Material:
    """Made when it is first asked for, in `home`."""

    def __init__(self, home: Path, size: Size) -> None:
        self.home = home
        self.size = size
        self.executors: dict[str, bytes] = {}
        """What pods chose to run a network with, by the address under which the registry keeps it."""

    def image_size(self, network: str) -> int:
        """Pixels a side that the network reads."""
        return self.size.network_side or NETWORKS[network].image_size

    @cached_property
    def images(self) -> tuple[Path, ...]:
        """JPEG files of drawn cells."""
        drawn, files = self.home / "drawn", self.home / "jpeg"
        files.mkdir(parents=True)
        each = -(-self.size.images // (_PATIENTS * len(KINDS)))
        draw_set(drawn, patients=_PATIENTS, per_kind=each, side=self.size.side)
        for number, file in enumerate(sorted(drawn.glob("*/*.png"))[: self.size.images]):
            with Image.open(file) as image:
                image.save(files / f"{number:03d}.jpg", quality=_QUALITY)
        return tuple(sorted(files.iterdir()))

    @cached_property
    def multipart(self) -> Path:
        """All images as the body of one request."""
        file = self.home / "multipart"
        file.write_bytes(multipart([image.read_bytes() for image in self.images]))
        return file

    @cached_property
    def in_json(self) -> tuple[Path, ...]:
        """Each image as base64 in JSON, as LitServe's documentation sends them."""
        folder = self.home / "json"
        folder.mkdir(parents=True)
        for image in self.images:
            text = json.dumps({"image_data": base64.b64encode(image.read_bytes()).decode()})
            (folder / f"{image.stem}.json").write_text(text)
        return tuple(sorted(folder.iterdir()))

    def state(self, network: str) -> Path:
        """The weights as torch keeps them, under torchvision's names, without auxiliary heads."""
        file = self.home / "states" / f"{network}.pth"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            torch.save(drawn_net(network, self.image_size(network)).state(), file)
        return file

    def bundle(self, network: str) -> Packed:
        """The same weights as a bundle."""
        folder = self.home / "bundles" / network
        file = folder / "bundle.tar"
        if not file.exists():
            package(folder / "made", drawn_net(network, self.image_size(network)), _training())
            if self.size.executor != EAGER:
                admit(folder / "made", self._judged(folder / "made"))
            bundle.export(folder / "made", file)
        return Packed(bundle.bundle_hash(folder / "made"), file)

    def _judged(self, made: Path) -> list[Judgement]:
        """As a trainer does: without that, nothing but eager torch would serve it. All images are new to the net."""
        preprocessing = bundle.verify(made).preprocessing
        pixels = made.parent / "pixels.npy"
        np.save(pixels, np.stack([to_pixels(image.read_bytes(), preprocessing) for image in self.images]))
        names = [name for name in present() if not reduced(name)]
        with Trying(made, pixels, names, available_cpus()) as trying:
            found = [word.judgement for word in trying.words(lambda: None) if word.judgement is not None]
        pixels.unlink()
        return found


def drawn_net(network: str, side: int) -> Net:
    """The network with weights drawn from a seed, and logits as large as a trained one's (mean 0, sd 2 over images):
    those of a drawn head are so near to nothing that rounding decides the label.
    """
    net = build(network, len(CLASSES), side, Weights.none(), seed=1)
    net.train(False)
    with torch.no_grad():
        logits = net.module(normalise(torch.from_numpy(check_inputs(side)[:_CENTRED_ON]), net.preprocessing))
        scale = 2 / logits.std(0)
        net.head.weight.mul_(scale[:, None])
        net.head.bias.copy_(-logits.mean(0) * scale)
    return net


def multipart(images: Sequence[bytes]) -> bytes:
    """A form whose parts `images` are these files."""
    head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="images"; filename="{{}}.jpg"\r\n'
    parts = (
        head.format(number).encode() + b"content-type: image/jpeg\r\n\r\n" + data + b"\r\n"
        for number, data in enumerate(images)
    )
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def _training() -> Training:
    return Training(
        classes=CLASSES,
        manifest_hash="ab" * 32,
        membership=(Member(sha256="cd" * 32, phash="0123456789abcdef", fold=0),),
        split={},
        settings={},
        metrics={},
        class_mix=(1,) * len(CLASSES),
    )


def scratch() -> tempfile.TemporaryDirectory[str]:
    """A directory for one run, with a short name, since sockets are made below it."""
    return tempfile.TemporaryDirectory(prefix="aimic-bench-")
