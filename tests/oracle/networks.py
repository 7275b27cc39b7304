"""The networks that people export, small and of random weights, but of the true architectures' code.

A function decorated with `network` makes one; its inputs are drawn for any number of examples. Random weights are made
lively first: normalisation layers learn the statistics of some random input, gains and offsets leave their initial 1
and 0, so that no layer is idle and signals neither vanish nor explode on their way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import product

import torch
from torch import Tensor, nn

Inputs = Callable[[int], tuple[Tensor, ...]]
Make = Callable[[], nn.Module]


@dataclass(frozen=True, order=True)
class Export:
    """One way to write a network: exporter, opset, and whether the batch is left open."""

    exporter: str
    opset: int
    symbolic: bool

    def __str__(self) -> str:
        return f"{self.exporter}{self.opset}-{'symbolic' if self.symbolic else 'fixed'}"


SCRIPT = tuple(Export("torchscript", opset, symbolic) for opset, symbolic in ((11, False), (13, True), (17, True)))
DYNAMO = tuple(Export("dynamo", opset, symbolic) for opset, symbolic in ((18, True), (20, False), (23, True)))


@dataclass(frozen=True)
class Network:
    """How to make a network, what it takes, and how it can be exported."""

    name: str
    make: Make
    inputs: Inputs
    names: tuple[str, ...] = ("x",)
    axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    exports: tuple[Export, ...] = SCRIPT + DYNAMO

    def module(self) -> nn.Module:
        """Make the network, the same one each time, in evaluation mode."""
        torch.manual_seed(0)
        return lively(self.make(), self.inputs(32))

    def in_double(self) -> Network:
        """Return the network in double precision, where two ways to compute agree to many digits."""
        return replace(
            self,
            make=lambda: self.make().double(),
            inputs=lambda n: tuple(v.double() if v.is_floating_point() else v for v in self.inputs(n)),
        )

    def open_axes(self, name: str) -> Mapping[int, str]:
        """Return the axes of an input that a symbolic export leaves open."""
        return self.axes.get(name, {0: "batch"})


NETWORKS: dict[str, Network] = {}


def network(
    inputs: Inputs,
    *names: str,
    axes: Mapping[str, Mapping[int, str]] | None = None,
    exports: tuple[Export, ...] = SCRIPT + DYNAMO,
) -> Callable[[Make], Make]:
    """Declare a function that makes a network."""

    def declare(make: Make) -> Make:
        made = Network(make.__name__, make, inputs, names or ("x",), axes or {}, exports)
        NETWORKS[made.name] = made
        return make

    return declare


def lively(module: nn.Module, inputs: tuple[Tensor, ...]) -> nn.Module:
    """Let batch normalisation learn the inputs' statistics, and move every gain and offset from where it starts."""
    with torch.no_grad():
        for value in module.parameters():
            if value.ndim <= 1:
                start = torch.where(value.sign().abs() == 1, 0.3, -0.2)
                value.copy_(start + 0.4 * torch.rand_like(value))
            elif not value.any():
                value.normal_(std=0.1)
        for layer in module.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.momentum = None  # the plain average
        module.train()(*inputs)
    return module.eval().requires_grad_(False)


def pictures(size: int, channels: int = 3) -> Inputs:
    """Draw pictures as they are after normalisation."""
    return lambda examples: (_normal(examples, channels, size, size),)


def vectors(*shape: int) -> Inputs:
    """Draw standard normal numbers."""
    return lambda examples: (_normal(examples, *shape),)


def tokens(examples: int) -> tuple[Tensor, ...]:
    """Draw token ids, and a mask under which the last examples are shorter; more examples are longer, too."""
    length = 6 + examples
    ids = torch.randint(1, VOCABULARY, (examples, length), generator=_generator())
    return ids, _mask(examples, length)


def embedded(examples: int) -> tuple[Tensor, ...]:
    """Draw embeddings of tokens, and a mask."""
    return _normal(examples, 6 + examples, WIDTH), _mask(examples, 6 + examples)


def _mask(examples: int, length: int) -> Tensor:
    ends = length - torch.arange(examples) % 3
    return (torch.arange(length) < ends[:, None]).long()


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=_generator())


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


VOCABULARY, WIDTH, CLASSES = 50, 32, 5


# --- pictures ---


@network(pictures(32))
def resnet18() -> nn.Module:
    from timm.models.resnet import BasicBlock, ResNet

    return ResNet(BasicBlock, (2, 2, 2, 2), channels=(16, 32, 64, 128), num_classes=CLASSES, zero_init_last=False)


@network(pictures(64))
def resnet50() -> nn.Module:
    from timm.models.resnet import Bottleneck, ResNet

    return ResNet(Bottleneck, (3, 4, 6, 3), channels=(8, 16, 32, 64), num_classes=CLASSES, zero_init_last=False)


@network(pictures(64))
def mobilenet_v3() -> nn.Module:
    import timm

    return timm.create_model("mobilenetv3_small_050", num_classes=CLASSES, drop_rate=0.0)


@network(pictures(64))
def efficientnet() -> nn.Module:
    import timm

    return timm.create_model("efficientnet_b0", num_classes=CLASSES)


@network(pictures(32))
def densenet() -> nn.Module:
    from torchvision.models import DenseNet

    return DenseNet(growth_rate=8, block_config=(6, 12, 8, 6), num_init_features=16, num_classes=CLASSES)


@network(pictures(32))
def convnext() -> nn.Module:
    from timm.models.convnext import ConvNeXt

    return ConvNeXt(depths=(1, 1, 3, 1), dims=(16, 32, 64, 128), num_classes=CLASSES)


@network(pictures(32))
def vit() -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    made = VisionTransformer(img_size=32, patch_size=8, embed_dim=48, depth=3, num_heads=3, num_classes=CLASSES)
    for block in made.blocks:
        block.attn.fused_attn = False  # TorchScript writes fused attention from opset 14 on only
    return made


@network(pictures(32))
def swin() -> nn.Module:
    from torchvision.models import SwinTransformer

    return SwinTransformer([2, 2], 24, [2, 2, 2], [2, 4, 8], [4, 4], num_classes=CLASSES, stochastic_depth_prob=0.0)


@network(pictures(32))
def swin_v2() -> nn.Module:
    from torchvision.models.swin_transformer import PatchMergingV2, SwinTransformer, SwinTransformerBlockV2

    return SwinTransformer(
        [2, 2], 24, [2, 2], [2, 4], [4, 4], num_classes=CLASSES, stochastic_depth_prob=0.0,
        block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2,
    )  # fmt: skip


class UNet(nn.Module):
    """A small U-Net: two ways down by pooling, two up by a transposed convolution and by interpolation."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = _double(3, 8), _double(8, 16), _double(16, 32)
        self.pool = nn.MaxPool2d(2)
        self.up2, self.join2 = nn.ConvTranspose2d(32, 16, 2, stride=2), _double(32, 16)
        self.up1, self.join1 = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), _double(24, 8)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(self.pool(first))
        bottom = self.bottom(self.pool(second))
        joined = self.join2(torch.cat([self.up2(bottom), second], 1))
        return self.head(self.join1(torch.cat([self.up1(joined), first], 1)))


def _double(before: int, after: int) -> nn.Module:
    layers = [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Conv2d(after, after, 3, padding=1), nn.GroupNorm(2, after), nn.LeakyReLU(0.1))


@network(pictures(16))
def unet() -> nn.Module:
    return UNet()


# --- language ---

OPEN_TEXT = {0: "batch", 1: "length"}


class Language(nn.Module):
    """A transformer of the ``transformers`` library, its one tensor result taken out."""

    def __init__(self, inner: nn.Module, first: str) -> None:
        super().__init__()
        self.inner, self.first = inner, first

    def forward(self, text: Tensor, attention_mask: Tensor) -> Tensor:
        return self.inner(**{self.first: text}, attention_mask=attention_mask).logits


def _bert(first: str) -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=64, num_labels=CLASSES, attn_implementation="eager",
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    return Language(BertForSequenceClassification(config), first)


def _gpt(first: str) -> nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCABULARY, n_embd=WIDTH, n_layer=2, n_head=4, n_positions=64, use_cache=False,
        attn_implementation="eager", bos_token_id=0, eos_token_id=0,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return Language(GPT2LMHeadModel(config), first)


TEXT_AXES = {"input_ids": OPEN_TEXT, "inputs_embeds": OPEN_TEXT, "attention_mask": OPEN_TEXT}


@network(tokens, "input_ids", "attention_mask", axes=TEXT_AXES)
def bert_tokens() -> nn.Module:
    return _bert("input_ids")


@network(embedded, "inputs_embeds", "attention_mask", axes=TEXT_AXES)
def bert_embedded() -> nn.Module:
    return _bert("inputs_embeds")


@network(tokens, "input_ids", "attention_mask", axes=TEXT_AXES)
def gpt_tokens() -> nn.Module:
    return _gpt("input_ids")


@network(embedded, "inputs_embeds", "attention_mask", axes=TEXT_AXES)
def gpt_embedded() -> nn.Module:
    return _gpt("inputs_embeds")


@network(vectors(6, WIDTH), exports=(SCRIPT[-1], *DYNAMO))  # TorchScript writes attention from opset 14 on
def transformer_encoder() -> nn.Module:
    layer = nn.TransformerEncoderLayer(WIDTH, 4, 64, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(WIDTH, CLASSES))


# --- sequences and tables ---


class Recurrent(nn.Module):
    """A recurrent layer of embeddings, and a classifier on its last step."""

    def __init__(self, inner: nn.RNNBase) -> None:
        super().__init__()
        self.inner = inner
        self.head = nn.Linear(inner.hidden_size * (2 if inner.bidirectional else 1), CLASSES)

    def forward(self, embeddings: Tensor) -> Tensor:
        steps, _ = self.inner(embeddings)
        return self.head(steps[:, -1] + steps.mean(1))


SEQUENCE = vectors(7, 8)


@network(SEQUENCE)
def lstm() -> nn.Module:
    return Recurrent(nn.LSTM(8, 16, num_layers=2, bidirectional=True, batch_first=True))


@network(SEQUENCE)
def gru() -> nn.Module:
    return Recurrent(nn.GRU(8, 16, num_layers=2, bidirectional=True, batch_first=True))


@network(SEQUENCE)
def rnn() -> nn.Module:
    return Recurrent(nn.RNN(8, 16, batch_first=True))


@network(vectors(12))
def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(12, 32),
        nn.BatchNorm1d(32),
        nn.GELU(),
        nn.Linear(32, 32),
        nn.Tanh(),
        nn.Linear(32, CLASSES),
        nn.Softmax(-1),
    )


class TwoInputs(nn.Module):
    """A picture and a row of numbers, answered by a class and a number."""

    def __init__(self) -> None:
        super().__init__()
        self.see = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.read = nn.Sequential(nn.Linear(6, 8), nn.SiLU())
        self.classes, self.number = nn.Linear(16, CLASSES), nn.Linear(16, 1)

    def forward(self, picture: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.cat([self.see(picture), self.read(row)], 1)
        return self.classes(joined), self.number(joined).exp()


@network(lambda n: (_normal(n, 3, 16, 16), _normal(n, 6)), "picture", "row")
def two_inputs() -> nn.Module:
    return TwoInputs()


def cells() -> list[tuple[Network, Export]]:
    """Return every network with every way it is exported."""
    return [(n, e) for n, e in product(NETWORKS.values(), SCRIPT + DYNAMO) if e in n.exports]
