"""What a script does today: Pillow, torchvision's transforms and eager torch with its own choice of threads.

A process of its own that imports nothing of ours: it reads one question a line (JSON) and answers with the seconds
until its first image had its answer and until the last had, on one line.
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


def batch(net: nn.Module, question: Question) -> tuple[float, float]:
    """All files in one batch, the network being there already. Seconds until the first answer and the last."""
    began = time.perf_counter()
    steps = transform(question["side"])
    with torch.inference_mode():
        net(torch.stack([read(Path(file), steps) for file in question["files"]])).softmax(1).tolist()
    took = time.perf_counter() - began
    return took, took


def cold(question: Question) -> tuple[float, float]:
    """As the paper's program was timed: build the network, load its weights, then decode and ask image by image.

    Seconds until the first answer, which is a run of one image, and until the last.
    """
    answered = [time.perf_counter()]
    net, steps = build(question), transform(question["side"])
    with torch.inference_mode():
        for file in question["files"]:
            net(read(Path(file), steps).unsqueeze(0)).softmax(1).tolist()
            answered.append(time.perf_counter())
    return answered[1] - answered[0], answered[-1] - answered[0]


def main() -> None:
    """Until the questions end."""
    built: dict[str, nn.Module] = {}
    for line in sys.stdin:
        question = json.loads(line)
        if question["work"] == "batch" and question["network"] not in built:
            built = {question["network"]: build(question)}
        took = batch(built[question["network"]], question) if question["work"] == "batch" else cold(question)
        print(*took, flush=True)


if __name__ == "__main__":
    main()
