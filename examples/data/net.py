"""A small convolutional net, as an example of a model of one's own."""

import torch
from torch import nn


class Net(nn.Module):
    """Two convolutions and a classifier; it gives the scores of ten classes and the features they come from."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()
        )
        self.classes = nn.Linear(32, 10)

    def forward(self, image):
        features = self.features(image).mean(dim=(2, 3))
        return {"scores": self.classes(features), "features": features}


def make():
    """The model and an example of what it takes: a batch of four images."""
    return Net(), torch.randn(4, 3, 64, 64)
