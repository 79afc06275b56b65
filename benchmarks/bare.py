"""A training loop with nothing around it, to measure ours against."""

import time

import torch
from torch.nn.functional import cross_entropy

from aimic.domain.job import TrainSettings
from aimic.nets.net import Net
from aimic.nets.normalise import normalise
from services.trainer.draws import batches


def bare_loop(net: Net, settings: TrainSettings, train: int, validate: int, epochs: int) -> float:
    """Seconds of `epochs` over `train` made-up images (forward, backward, AdamW), each with the logits of `validate`
    others: what any script does, in float32, without checkpoints, reports, or images to read."""
    size, side = settings.batch_size or 16, settings.image_size or 224
    pixels = torch.randint(0, 256, (train + validate, side, side, 3), dtype=torch.uint8)
    targets = torch.arange(train + validate) % net.classes
    optimizer = torch.optim.AdamW(list(net.trainable()), lr=settings.lr or 1e-4, fused=True)
    smoothing = settings.label_smoothing or 0.0
    started = time.perf_counter()
    for _ in range(epochs):
        net.train(True)
        for batch in batches(range(train), size):
            x = normalise(pixels[batch], net.preprocessing)
            loss = cross_entropy(net.module(x), targets[batch], label_smoothing=smoothing)
            torch.autograd.backward(loss)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            float(loss.detach())
        net.train(False)
        with torch.inference_mode():
            for batch in batches(range(train, train + validate), 32):
                net.module(normalise(pixels[batch], net.preprocessing))
    return time.perf_counter() - started
