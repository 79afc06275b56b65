"""LitServe with an image classifier as its documentation writes one; runs in the peers' environment.

python litserve_server.py PORT NETWORK CLASSES STATE
"""

import base64
import io
import sys
from typing import Any

import litserve
import torch
import torchvision
from PIL import Image
from torch import Tensor

BATCH = 8
"""As many as there are clients."""
BATCH_TIMEOUT_S = 0.01


class Classifier(litserve.LitAPI):  # type: ignore[misc]  # it has no types
    """Base64 in JSON → probabilities."""

    def setup(self, device: str) -> None:
        """Load the network."""
        network, classes, state = sys.argv[2:]
        self.net = torchvision.models.get_model(network, num_classes=int(classes)).eval().to(device)
        self.net.load_state_dict(torch.load(state, weights_only=True))
        transforms = torchvision.transforms
        self.steps = transforms.Compose(
            [
                transforms.Resize(256),
                transforms.CenterCrop(224),
                transforms.ToTensor(),
                transforms.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
            ]
        )

    def decode_request(self, request: dict[str, Any]) -> Tensor:
        """One image."""
        image = Image.open(io.BytesIO(base64.b64decode(request["image_data"]))).convert("RGB")
        prepared: Tensor = self.steps(image)
        return prepared

    def batch(self, inputs: list[Tensor]) -> Tensor:
        """Several images as one batch."""
        return torch.stack(inputs)

    def predict(self, batch: Tensor) -> list[list[float]]:
        """Probabilities of each image of the batch."""
        with torch.inference_mode():
            rows: list[list[float]] = self.net(batch).softmax(1).tolist()
        return rows

    def unbatch(self, output: list[list[float]]) -> list[list[float]]:
        """One answer for each image."""
        return output

    def encode_response(self, output: list[float]) -> dict[str, list[float]]:
        """The answer."""
        return {"probabilities": output}


if __name__ == "__main__":
    server = litserve.LitServer(Classifier(max_batch_size=BATCH, batch_timeout=BATCH_TIMEOUT_S), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
