"""The networks as their authors wrote them, by the names of their published weights."""

import math

import torch
import torch.nn.functional as F

from pkdn_lightning.networks.rcan import DIV2K_MEAN


class Published(dict):
    """A state dict that grows while a forward pass asks for its layers by their published names.

    Every value is random, so a tensor that lands in the wrong place changes the image.
    """

    def conv(self, name, x, channels, size=3, *, bias=True, groups=1, stride=1, padding=None):
        inputs = x.shape[1] // groups
        bound = 1 / math.sqrt(inputs * size**2)
        self._make(f"{name}.weight", x, (channels, inputs, size, size), bound)
        if bias:
            self._make(f"{name}.bias", x, (channels,), bound)
        padding = size // 2 if padding is None else padding
        return F.conv2d(x, self[f"{name}.weight"], self.get(f"{name}.bias"), stride, padding, groups=groups)

    def norm(self, name, x):
        for kind in ("weight", "bias", "running_mean", "running_var"):
            self._make(f"{name}.{kind}", x, (x.shape[1],), 1)
        self[f"{name}.running_var"] = self[f"{name}.running_var"].abs() + 0.5
        self.setdefault(f"{name}.num_batches_tracked", torch.tensor(len(self), device=x.device))
        mean, var, weight, bias = (self[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, mean, var, weight, bias)

    def shift(self, name, x, sign, train_along=0.0):
        """A mean shift, away from its initial values by `train_along`."""
        self._make(f"{name}.weight", x, (3, 3, 1, 1), train_along)
        self._make(f"{name}.bias", x, (3,), train_along)
        self[f"{name}.weight"] += torch.eye(3).view(3, 3, 1, 1).to(x)
        self[f"{name}.bias"] += sign * 255 * torch.tensor(DIV2K_MEAN).to(x)
        return F.conv2d(x, self[f"{name}.weight"], self[f"{name}.bias"])

    def rcab(self, name, x):
        inner = self.conv(f"{name}.body.2", F.relu(self.conv(f"{name}.body.0", x, x.shape[1])), x.shape[1])
        gate = F.relu(
            self.conv(f"{name}.body.3.conv_du.0", inner.mean((2, 3), keepdim=True), max(4, x.shape[1] // 16), 1)
        )
        return x + inner * self.conv(f"{name}.body.3.conv_du.2", gate, x.shape[1], 1).sigmoid()

    def _make(self, name, x, shape, spread):
        if name not in self:
            self[name] = spread * torch.randn(shape, dtype=x.dtype, device=x.device)


def published_rcan(state, lr, *, width, groups, blocks, train_along=0.0):
    """The public network as its paper and code describe it; fills `state` on the way."""
    head = x = state.conv("head.0", state.shift("sub_mean", lr * 255, -1, train_along), width)
    for group in range(groups):
        inner = x
        for block in range(blocks):
            inner = state.rcab(f"body.{group}.body.{block}", inner)
        x = x + state.conv(f"body.{group}.body.{blocks}", inner, width)
    x = head + state.conv(f"body.{groups}", x, width)
    for layer in (0, 2, 4):
        x = F.pixel_shuffle(state.conv(f"tail.0.{layer}", x, 4 * width), 2)
    return state.shift("add_mean", state.conv("tail.1", x, 3), 1, train_along) / 255


def published_layer(state, name, x, channels, scale=None, *, norm=True, activate=True):
    if scale == "up":
        x = F.interpolate(x, scale_factor=2, mode="nearest")
    x = F.pad(x, (1, 1, 1, 1), mode="reflect")
    x = state.conv(f"{name}.conv2d", x, channels, bias=not norm, stride=2 if scale == "down" else 1, padding=0)
    x = state.norm(f"{name}.norm.norm", x) if norm else x
    return F.leaky_relu(x, 0.2) if activate else x


def published_hourglass(state, name, x, level, width):
    beside = published_layer(state, f"{name}.b1_{level}", x, width)
    x = published_layer(state, f"{name}.b2_{level}", x, width, "down")
    if level > 1:
        x = published_hourglass(state, name, x, level - 1, width)
    else:
        x = published_layer(state, f"{name}.b2_plus_1", x, width)
    return beside + published_layer(state, f"{name}.b3_{level}", x, width, "up")


def published_unit(state, name, x, channels, depth, scale=None, *, attention, attention_width):
    bare = {"norm": False, "activate": False}
    resampled = scale is not None or x.shape[1] != channels
    shortcut = published_layer(state, f"{name}.shortcut_func", x, channels, scale, **bare) if resampled else x
    x = F.leaky_relu(state.norm(f"{name}.preact_func.0.norm", x), 0.2)
    x = published_layer(state, f"{name}.conv1", x, channels, scale if scale == "up" else None)
    x = published_layer(state, f"{name}.conv2", x, channels, scale if scale == "down" else None, activate=False)
    gate = published_hourglass(state, f"{name}.att_func", x, depth, attention_width)
    gates = 1 if attention == "spar" else channels
    return shortcut + x * published_layer(state, f"{name}.att_func.out_block.0", gate, gates, **bare).sigmoid()


def published_sparnet(state, x, *, width=32, max_width=128, res_depth=10, attention="spar", attention_width=64):
    """The public network as its code describes it, from the enlarged face on; fills `state` on the way."""
    options = {"attention": attention, "attention_width": attention_width}
    bare = {"norm": False, "activate": False}
    widths = [min(2**level * width, max_width) for level in range(4)]
    x = published_layer(state, "encoder.0", x, widths[0], **bare)
    for number, (channels, depth) in enumerate(zip(widths[1:], (4, 3, 2), strict=True), start=1):
        x = published_unit(state, f"encoder.{number}", x, channels, depth, "down", **options)
    for number in range(res_depth):
        x = published_unit(state, f"res_layers.{number}", x, widths[3], 2, **options)
    for number, (channels, depth) in enumerate(zip(widths[2::-1], (3, 4, 5), strict=True)):
        x = published_unit(state, f"decoder.{number}", x, channels, depth, "up", **options)
    return published_layer(state, "out_conv", x, 3, **bare)


def space_to_depth(x, side):
    """SISN's own, the colour fastest."""
    tiles = torch.unflatten(F.pixel_unshuffle(x, side), 1, (x.shape[1], side**2))
    return tiles.transpose(1, 2).flatten(1, 2)


def published_block(state, name, x):
    width = x.shape[1]
    state[f"{name}.skip.weight"] = torch.zeros(width, width, 1, 1, device=x.device)
    inner = F.relu(state.norm(f"{name}.bn1", state.conv(f"{name}.conv1", x, width, 1, bias=False)))
    inner = state.conv(f"{name}.conv2.conv", inner, 4 * width, bias=False, groups=4)
    parts = F.relu(state.norm(f"{name}.conv2.bn0", inner)).chunk(4, dim=1)
    pooled = state.conv(f"{name}.conv2.conv1x1_1", F.adaptive_avg_pool2d(sum(parts), 1), width, 1)
    votes = state.conv(f"{name}.conv2.conv1x1_2", F.relu(state.norm(f"{name}.conv2.bn1", pooled)), 4 * width, 1)
    weights = torch.stack(votes.chunk(4, dim=1)).softmax(0)
    inner = sum(weight * part for weight, part in zip(weights, parts, strict=True))
    return F.relu(x + state.norm(f"{name}.bn3", state.conv(f"{name}.conv3", inner, width, 1, bias=False)))


def published_sisn(state, lr, *, width, groups, blocks, train_along=0.0):
    """The public network as its code describes it, from the enlarged face on; fills `state` on the way."""
    enlarged = F.interpolate(lr, scale_factor=8, mode="nearest") * 255
    folded = space_to_depth(state.shift("sub_mean", enlarged, -1, train_along), 8)
    head = x = state.conv("head.1", folded, width)
    for group in range(groups):
        inner = x
        for block in range(blocks):
            inner = published_block(state, f"body.{group}.body.{block}", inner)
        inner = state.conv(f"body.{group}.body.{blocks}", inner, width)
        x = inner + published_block(state, f"body.{group}.IA", x)
    x = head + state.conv(f"body.{groups}", x, width)
    for layer in (0, 2, 4):
        x = F.pixel_shuffle(state.conv(f"tail.0.{layer}", x, 4 * width), 2)
    return state.shift("add_mean", state.conv("tail.1", x, 3), 1, train_along) / 255


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the public code's state dict."""
    bare = {
        "group": {
            **{f"body.{b}.layers.{c}.layers.weight": (64, 64, 3, 3) for b in range(2) for c in range(2)},
            "body.2.layers.weight": (64, 64, 3, 3),
            "body.2.act.weight": (1,),
            "re_scale.scale": (1,),
        },
        "frequency": {
            **{f"{name}.weight": (64, 64, 1, 1) for name in ("fpre", "post")},
            **{f"{name}.bias": (64,) for name in ("fpre", "post")},
            **{f"{name}_fuse.{c}.weight": (64, 64, 3, 3) for name in ("amp", "pha") for c in (0, 2)},
            **{f"{name}_fuse.{c}.bias": (64,) for name in ("amp", "pha") for c in (0, 2)},
        },
        "down": {"layers.0.layers.weight": (64, 64, 3, 3), "layers.2.layers.weight": (64, 256, 1, 1)},
        "up": {"0.weight": (256, 64, 1, 1), "0.bias": (256,), "2.weight": (1,)},
        "attention": {
            "temperature": (8, 1, 1),
            "kv.weight": (128, 64, 1, 1),
            "kv_dwconv.weight": (128, 1, 3, 3),
            "q.weight": (64, 64, 1, 1),
            "q_dwconv.weight": (64, 1, 3, 3),
            "project_out.weight": (64, 64, 1, 1),
        },
    }
    shapes: dict[str, tuple[int, ...]] = {}
    for suffix, block in (("_fre", "frequency"), ("", "group")):
        shapes |= {f"head{suffix}.0.layers.weight": (64, 3, 3, 3), f"head{suffix}.0.act.weight": (1,)}
        shapes |= {f"tail{suffix}.0.layers.weight": (3, 64, 3, 3), f"tail{suffix}.0.act.weight": (1,)}
        for stage in ("down1", "down2", "down3", "neck", "up1", "up2", "up3"):
            parts = [block] if stage == "neck" else [stage[:-1], block]
            for index, part in enumerate(parts):
                shapes |= {f"{stage}{suffix}.{index}.{name}": shape for name, shape in bare[part].items()}
            shapes |= {f"{stage}{suffix}_mo.0.{name}": shape for name, shape in bare[block].items()}
    for index in range(14):
        place = f"conv_fuse.{index}"
        for name in ("fre", "spa"):
            shapes |= {f"{place}.{name}.weight": (64, 64, 3, 3), f"{place}.{name}.bias": (64,)}
            shapes |= {f"{place}.{name}_att.{part}": shape for part, shape in bare["attention"].items()}
        shapes |= {f"{place}.fuse.0.weight": (64, 128, 3, 3), f"{place}.fuse.0.bias": (64,)}
        shapes |= {f"{place}.fuse.1.weight": (128, 64, 3, 3), f"{place}.fuse.1.bias": (128,)}
    return shapes


def published_kdfsrnet(state, x, *, width, rcabs_per_level, down="1", up="0"):
    """The public network as its code describes it, from the enlarged face on; fills `state` on the way."""

    def stage(name, x):
        for block in range(rcabs_per_level):
            x = state.rcab(f"{name}.{block}", x)
        return x

    x = state.conv("head.0", x, width)
    for level in range(1, 5):
        x = stage(f"down_stage{level}", state.conv(f"down{level}.{down}", F.pixel_unshuffle(x, 2), width))
    x = stage("bottleneck", x)
    for level in range(1, 5):
        x = stage(f"up_stage{level}", F.pixel_shuffle(state.conv(f"up{level}.{up}", x, 4 * width), 2))
    return state.conv("tail.0", x, 3)


def layer(name: str, *weight: int, prelu: str = "") -> dict[str, tuple[int, ...]]:
    """Shapes of a convolution of the public code, and of the PReLU behind it; the bias is as long as the weight."""
    shapes = {f"{name}.weight": weight, f"{name}.bias": (weight[0],)}
    return shapes | ({f"{prelu}.weight": (1,)} if prelu else {})


def residual(name: str, before: int, after: int) -> dict[str, tuple[int, ...]]:
    half = after // 2
    shapes = layer(f"{name}.conv_block.0", half, before, 1, 1) | layer(f"{name}.conv_block.2", half, half, 3, 3)
    shapes |= layer(f"{name}.conv_block.3", after, half, 1, 1)
    return shapes | (layer(f"{name}.skip_layer", after, before, 1, 1) if before != after else {})


def feedback(name: str, inputs: int) -> dict[str, tuple[int, ...]]:
    def block(part: str, *weight: int) -> dict[str, tuple[int, ...]]:
        return layer(f"{name}.{part}.0", *weight, prelu=f"{name}.{part}.1")

    shapes = block("compress_in", 48, inputs, 1, 1) | block("compress_out", 48, 288, 1, 1)
    for turn in range(6):
        shapes |= block(f"upBlocks.{turn}", 48, 48, 12, 12) | block(f"downBlocks.{turn}", 48, 48, 12, 12)
    for turn in range(5):
        for side in ("uptranBlocks", "downtranBlocks"):
            shapes |= block(f"{side}.{turn}", 48, 48 * (turn + 2), 1, 1)
    return shapes


def published_state() -> dict[str, torch.Tensor]:
    """The public code's names and shapes; each tensor is filled with its own number."""
    shapes = layer("conv_in.0", 192, 3, 3, 3, prelu="conv_in.1")
    shapes |= feedback("first_block", 48) | feedback("block", 96)
    shapes |= layer("block.fusion_block.conv_in.0", 240, 48, 1, 1)
    for number in range(7):
        for index in (0, 2):
            shapes |= layer(f"block.fusion_block.resnet.{number}.res.{index}", 240, 48, 3, 3)
    shapes |= layer("out.0", 48, 48, 8, 8, prelu="out.1") | layer("conv_out.0", 3, 48, 3, 3)
    shapes |= layer("HG.pre_conv_block.0", 64, 3, 7, 7)
    shapes |= residual("HG.pre_conv_block.2", 64, 128) | residual("HG.pre_conv_block.4", 128, 128)
    shapes |= residual("HG.pre_conv_block.5", 128, 256) | layer("HG.compress_in", 512, 512, 1, 1)
    for level in (4, 3, 2, 1):
        for number in (1, 2, 3):
            shapes |= residual(f"HG.hg.res{level}_{number}", 512, 512)
    shapes |= residual("HG.hg.res_center", 512, 512) | residual("HG.hg_conv_out.0", 256, 256)
    shapes |= layer("HG.hg_conv_out.1.conv_block.0", 256, 256, 1, 1) | layer("HG.hg_conv_out.2", 68, 256, 1, 1)
    return {name: torch.tensor(float(number)).expand(shape) for number, (name, shape) in enumerate(shapes.items())}


def made_by(forward, *inputs, **options):
    state = Published()
    with torch.no_grad():
        forward(state, *inputs, **options)
    return dict(state)


STATES = {
    "KDFSRNetStudent": lambda: made_by(published_kdfsrnet, torch.rand(1, 3, 16, 16), width=64, rcabs_per_level=6),
    "KDFSRNetTeacher": lambda: made_by(published_kdfsrnet, torch.rand(1, 6, 16, 16), width=64, rcabs_per_level=2),
    "SPARNet": lambda: made_by(published_sparnet, torch.rand(1, 3, 64, 64)),
    "SPARNet light": lambda: made_by(published_sparnet, torch.rand(1, 3, 64, 64), res_depth=1, attention="spar3d"),
    "SISN": lambda: made_by(published_sisn, torch.rand(2, 3, 4, 4), width=64, groups=3, blocks=2),
    "RCAN": lambda: made_by(published_rcan, torch.rand(1, 3, 4, 4), width=64, groups=2, blocks=3),
    "DIC": published_state,
    "SFMNet": lambda: {name: torch.zeros(1).expand(shape) for name, shape in published_shapes().items()},
}
