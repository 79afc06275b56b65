"""What a script does today: Pillow, torchvision's transforms and eager torch with its own choice of threads.

A process of its own that imports nothing of ours: it reads one question a line (JSON) and answers with the seconds.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import models, transforms

Question = dict[str, Any]
_MEAN = (0.5, 0.5, 0.5)
_WITHOUT = {"googlenet", "inception_v3"}
"""Networks whose auxiliary heads the weights don't have."""


def build(question: Question) -> nn.Module:
    """The network of the question with its weights."""
    network = question["network"]
    less = {"aux_logits": False, "init_weights": False} if network in _WITHOUT else {}
    net: nn.Module = models.get_model(network, num_classes=question["classes"], **less)
    net.load_state_dict(torch.load(question["state"], weights_only=True))
    return net.eval()


def transform(side: int) -> transforms.Compose:
    """The usual one, with the whole image stretched to a square as ours is."""
    steps = [transforms.Resize((side, side)), transforms.ToTensor(), transforms.Normalize(_MEAN, _MEAN)]
    return transforms.Compose(steps)


def read(file: Path, steps: transforms.Compose) -> Tensor:
    """The network's input of one file, [3, side, side]."""
    with Image.open(file) as image:
        prepared: Tensor = steps(image.convert("RGB"))
    return prepared


def batch(net: nn.Module, question: Question) -> None:
    """All files in one batch, the network being there already."""
    steps = transform(question["side"])
    with torch.inference_mode():
        net(torch.stack([read(Path(file), steps) for file in question["files"]])).softmax(1).tolist()


def cold(question: Question) -> None:
    """As the paper's program was timed: build the network, load its weights, then decode and ask image by image."""
    net, steps = build(question), transform(question["side"])
    with torch.inference_mode():
        for file in question["files"]:
            net(read(Path(file), steps).unsqueeze(0)).softmax(1).tolist()


def main() -> None:
    """Until the questions end."""
    built: dict[str, nn.Module] = {}
    for line in sys.stdin:
        question = json.loads(line)
        if question["work"] == "batch" and question["network"] not in built:
            built = {question["network"]: build(question)}
        began = time.perf_counter()
        if question["work"] == "batch":
            batch(built[question["network"]], question)
        else:
            cold(question)
        print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    main()
