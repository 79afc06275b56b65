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


_ALL = (
    Network(name="vgg16", title="VGG-16", weights="VGG16_Weights.IMAGENET1K_V1", image_size=224, parameters_millions=138.4),
    Network(name="resnet34", title="ResNet-34", weights="ResNet34_Weights.IMAGENET1K_V1", image_size=224, parameters_millions=21.8),
    Network(name="resnet50", title="ResNet-50", weights="ResNet50_Weights.IMAGENET1K_V1", image_size=224, parameters_millions=25.6),
    Network(name="googlenet", title="GoogLeNet", weights="GoogLeNet_Weights.IMAGENET1K_V1", image_size=224, parameters_millions=6.6),
    Network(name="inception_v3", title="Inception-v3", weights="Inception_V3_Weights.IMAGENET1K_V1", image_size=299, parameters_millions=27.2),
    Network(name="resnext50_32x4d", title="ResNeXt-50-32x4d", weights="ResNeXt50_32X4D_Weights.IMAGENET1K_V1", image_size=224, parameters_millions=25.0),
    Network(name="shufflenet_v2_x1_0", title="ShuffleNet-v2 x1.0", weights="ShuffleNet_V2_X1_0_Weights.IMAGENET1K_V1", image_size=224, parameters_millions=2.3),
    Network(name="mobilenet_v2", title="MobileNet-v2", weights="MobileNet_V2_Weights.IMAGENET1K_V1", image_size=224, parameters_millions=3.5),
    Network(name="mobilenet_v3_large", title="MobileNet-v3-Large", weights="MobileNet_V3_Large_Weights.IMAGENET1K_V1", image_size=224, parameters_millions=5.5),
    Network(name="efficientnet_b0", title="EfficientNet-B0", weights="EfficientNet_B0_Weights.IMAGENET1K_V1", image_size=224, parameters_millions=5.3),
)  # fmt: skip

NETWORKS: dict[str, Network] = {network.name: network for network in _ALL}
