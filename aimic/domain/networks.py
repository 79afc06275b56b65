"""The ten networks of Liu et al. 2022, as data. No torch here, so that every service can list them."""

from aimic.domain.base import Value


class Network(Value):
    """A torchvision classification network and its ImageNet weights."""

    name: str
    """torchvision's builder function."""
    title: str
    weights: str
    """torchvision's weights entry, `Enum.MEMBER`; this is the one we name in cards."""
    image_size: int
    """Pixels a side that the network was designed for."""
    parameters_millions: float
    """With the 1,000-class head, as torchvision documents it."""


_ROWS = (
    ("vgg16", "VGG-16", "VGG16_Weights.IMAGENET1K_V1", 224, 138.4),
    ("resnet34", "ResNet-34", "ResNet34_Weights.IMAGENET1K_V1", 224, 21.8),
    ("resnet50", "ResNet-50", "ResNet50_Weights.IMAGENET1K_V1", 224, 25.6),
    ("googlenet", "GoogLeNet", "GoogLeNet_Weights.IMAGENET1K_V1", 224, 6.6),
    ("inception_v3", "Inception-v3", "Inception_V3_Weights.IMAGENET1K_V1", 299, 27.2),
    ("resnext50_32x4d", "ResNeXt-50-32x4d", "ResNeXt50_32X4D_Weights.IMAGENET1K_V1", 224, 25.0),
    ("shufflenet_v2_x1_0", "ShuffleNet-v2 x1.0", "ShuffleNet_V2_X1_0_Weights.IMAGENET1K_V1", 224, 2.3),
    ("mobilenet_v2", "MobileNet-v2", "MobileNet_V2_Weights.IMAGENET1K_V1", 224, 3.5),
    ("mobilenet_v3_large", "MobileNet-v3-Large", "MobileNet_V3_Large_Weights.IMAGENET1K_V1", 224, 5.5),
    ("efficientnet_b0", "EfficientNet-B0", "EfficientNet_B0_Weights.IMAGENET1K_V1", 224, 5.3),
)

NETWORKS: dict[str, Network] = {
    name: Network(name=name, title=title, weights=weights, image_size=size, parameters_millions=millions)
    for name, title, weights, size, millions in _ROWS
}
