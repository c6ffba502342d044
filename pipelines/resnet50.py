"""ResNet-50 (He et al., 2016), as a model to measure: its shape and its work, with weights that mean nothing.

The weights come from integer arithmetic, so that every machine has the same; their spread is that of a fresh net
(He et al., 2015), which keeps activations finite through all layers and in 16 bits.
"""

import numpy
import torch
from torch import nn

# Blocks of each stage, and the width inside them; a block gives four times that.
STAGES = [(3, 64), (4, 128), (6, 256), (3, 512)]


def convolution(taken, given, size, stride=1):
    """A convolution without bias and its normalisation, as they always come together."""
    conv = nn.Conv2d(taken, given, size, stride, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(given))


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1, beside a shortcut; the stride is in the middle (version 1.5)."""

    def __init__(self, taken, width, stride):
        super().__init__()
        given = 4 * width
        self.narrow = convolution(taken, width, 1)
        self.middle = convolution(width, width, 3, stride)
        self.wide = convolution(width, given, 1)
        same = stride == 1 and taken == given
        self.shortcut = nn.Identity() if same else convolution(taken, given, 1, stride)

    def forward(self, x):
        inner = torch.relu(self.middle(torch.relu(self.narrow(x))))
        return torch.relu(self.wide(inner) + self.shortcut(x))


class ResNet50(nn.Module):
    """Images in, scores of 1,000 classes out."""

    def __init__(self):
        super().__init__()
        self.stem = convolution(3, 64, 7, 2)
        blocks, taken = [], 64
        for stage, (count, width) in enumerate(STAGES):
            for index in range(count):
                blocks.append(Bottleneck(taken, width, 2 if stage > 0 and index == 0 else 1))
                taken = 4 * width
        self.blocks = nn.Sequential(*blocks)
        self.classes = nn.Linear(taken, 1000)

    def forward(self, images):
        x = nn.functional.max_pool2d(torch.relu(self.stem(images)), 3, 2, padding=1)
        return self.classes(self.blocks(x).mean(dim=(2, 3)))


def uniform(seed, count):
    """Numbers in -1 to 1 from a counter through splitmix64 (Steele, Lea and Flood, 2014): 24 bits are exact."""
    words = numpy.arange(1, count + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
    words += numpy.uint64(seed << 40)
    words = (words ^ (words >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    words ^= words >> numpy.uint64(31)
    return (words >> numpy.uint64(40)).astype(numpy.float32) * numpy.float32(2.0**-23) - numpy.float32(1.0)


def make(batch):
    """The model and `batch` random images."""
    model = ResNet50()
    for seed, parameter in enumerate(model.parameters()):
        if parameter.dim() > 1:
            spread = (6.0 / parameter[0].numel()) ** 0.5
            numbers = uniform(seed + 1, parameter.numel()) * numpy.float32(spread)
            parameter.data.copy_(torch.from_numpy(numbers).reshape(parameter.shape))
    for module in model.modules():
        if isinstance(module, Bottleneck):
            # A fresh net's blocks begin as little more than their shortcuts (Goyal et al., 2017).
            module.wide[1].weight.data.fill_(0.25)
    images = uniform(0, batch * 3 * 224 * 224).reshape(batch, 3, 224, 224)
    return model, torch.from_numpy(images)


def batch_1():
    return make(1)


def batch_4():
    return make(4)


def batch_16():
    return make(16)


def batch_64():
    return make(64)


def batch_256():
    return make(256)
