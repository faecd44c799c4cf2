"""ONNX files of generators of other makers: a StyleGAN2 without noise inputs, written node by node, and in PyTorch.

A mapping network of z and a one-hot class, a truncation towards the mean w, four modulated convolutions from 4 to 32
pixels (Karras et al., CVPR 2020, Eq. 1 and 3), and a last layer for each mechanism. PyTorch modulates the weights, the
files modulate what a convolution takes and demodulate what it returns: the same function, by another route.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

Z, CLASSES, WIDTH, SIDE, EPSILON = 6, 3, 8, 32, 1e-8
LEAK = 0.2


class StyleGAN(nn.Module):
    """forward(z (B, Z), labels (B,), psi) -> mask (B, 1, 32, 32), texture, background (B, 3, 32, 32)."""

    def __init__(self, seed=0):
        super().__init__()
        rng = torch.Generator().manual_seed(seed)

        def weight(*shape):
            return nn.Parameter(torch.randn(shape, generator=rng), requires_grad=False)

        self.embed = weight(CLASSES, Z)
        self.mapping = nn.ParameterList([weight(WIDTH, 2 * Z) / Z**0.5, weight(WIDTH, WIDTH) / WIDTH**0.5])
        self.w_avg, self.start = weight(WIDTH) / 4, weight(1, WIDTH, 4, 4)
        self.affine = nn.ParameterList([weight(WIDTH, WIDTH) / WIDTH for _ in range(4)])
        self.convolutions = nn.ParameterList([weight(WIDTH, WIDTH, 3, 3) for _ in range(4)])
        self.last = nn.ParameterList([weight(channels, WIDTH, 1, 1) / WIDTH**0.5 for channels in (1, 3, 3)])

    def forward(self, z, labels, psi=1.0):
        x = torch.cat([normalised(z), normalised(self.embed[labels])], 1)
        for matrix in self.mapping:
            x = F.leaky_relu(x @ matrix.T, LEAK)
        w = self.w_avg + psi * (x - self.w_avg)
        x = self.start.expand(len(z), -1, -1, -1)
        for number, (affine, kernel) in enumerate(zip(self.affine, self.convolutions, strict=True)):
            x = F.interpolate(x, scale_factor=2.0) if number else x
            modulated = kernel[None] * (1 + w @ affine.T)[:, None, :, None, None]  # (B, out, in, 3, 3)
            modulated = modulated * (modulated.square().sum((2, 3, 4), keepdim=True) + EPSILON).rsqrt()
            grouped = F.conv2d(x.flatten(0, 1)[None], modulated.flatten(0, 1), padding=1, groups=len(z))
            x = F.leaky_relu(grouped[0].unflatten(0, (len(z), WIDTH)), LEAK)
        mask, texture, background = (F.conv2d(x, kernel) for kernel in self.last)
        return mask.sigmoid(), texture.tanh(), background.tanh()


def normalised(x):
    return x * (x.square().mean(1, keepdim=True) + EPSILON).rsqrt()


class Graph:
    """Nodes and constants of an ONNX file, each named by its number."""

    def __init__(self):
        self.nodes, self.constants = [], []

    def add(self, kind, *inputs, **attributes):
        from onnx import helper

        name = f"v{len(self.nodes) + len(self.constants)}"
        self.nodes.append(helper.make_node(kind, [self.put(one) for one in inputs], [name], **attributes))
        return name

    def put(self, value):
        """Return the name of a value: of a name itself, of numbers a new constant."""
        from onnx import numpy_helper

        if isinstance(value, str):
            return value
        array = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        name = f"c{len(self.nodes) + len(self.constants)}"
        self.constants.append(
            numpy_helper.from_array(array.astype(np.float32) if array.dtype.kind == "f" else array, name)
        )
        return name


def write_stylegan(
    path,
    network,
    draws,
    *,
    mechanism=None,
    labels="one-hot",
    batch="B",
    last=False,
    psi=True,
    metadata=None,
    names=None,
    planes=False,
):
    """Write a StyleGAN.

    Args:
        draws: names of the outputs by mechanism number, as ``{0: "mask"}``; with ``mechanism``, one name under None.
        mechanism: shape of the input that says which mechanism, with its type, as ``("INT64", [])``; the mask then has
            three channels.
        labels: ``one-hot``, ``int64`` or ``int32`` (of shape (B, 1)).
        batch: a number or a name.
        last: whether channels come last.
        names: of the inputs noise and labels.
        planes: whether noise is (B, Z, 1, 1), as DCGAN takes it.
    """
    from onnx import TensorProto, helper, save

    g, (noise, c) = Graph(), names or ("z", "c")
    kinds = {"one-hot": ("FLOAT", [batch, CLASSES]), "int64": ("INT64", [batch]), "int32": ("INT32", [batch, 1])}
    inputs = [(noise, "FLOAT", [batch, Z, 1, 1] if planes else [batch, Z]), (c, *kinds[labels])]
    inputs += [("truncation_psi", "FLOAT", [])] if psi else []
    inputs += [("mechanism", *mechanism)] if mechanism else []
    noise = g.add("Flatten", noise) if planes else noise
    heads = [
        _last_layer(g, _trunk(g, network, noise, _embedded(g, network, c, labels), psi), network, k) for k in range(3)
    ]
    outputs = []
    for number, name in draws.items():
        image = _chosen(g, heads, mechanism) if number is None else heads[number]
        g.nodes.append(helper.make_node("Transpose", [image], [name], perm=[0, 2, 3, 1] if last else [0, 1, 2, 3]))
        channels = 1 if number == 0 else 3
        outputs.append((name, "FLOAT", [batch, SIDE, SIDE, channels] if last else [batch, channels, SIDE, SIDE]))
    ports = (
        [helper.make_tensor_value_info(n, TensorProto.DataType.Value(k), s) for n, k, s in side]
        for side in (inputs, outputs)
    )
    model = helper.make_model(
        helper.make_graph(g.nodes, "stylegan", *ports, g.constants), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    helper.set_model_props(model, metadata or {})
    save(model, path)
    return path


def _embedded(g, network, labels, form):
    if form == "one-hot":
        return g.add("MatMul", labels, network.embed)
    flat = g.add("Reshape", labels, np.array([-1]))
    return g.add("Gather", network.embed, g.add("Cast", flat, to=7))


def _normal(g, x):
    power = g.add("ReduceMean", g.add("Mul", x, x), axes=[1], keepdims=1)
    return g.add("Div", x, g.add("Sqrt", g.add("Add", power, [EPSILON])))


def _trunk(g, network, noise, embedded, psi):
    x = g.add("Concat", _normal(g, noise), _normal(g, embedded), axis=1)
    for matrix in network.mapping:
        x = g.add("LeakyRelu", g.add("MatMul", x, matrix.T), alpha=LEAK)
    if psi:
        x = g.add("Add", network.w_avg, g.add("Mul", "truncation_psi", g.add("Sub", x, network.w_avg)))
    w, x = x, network.start
    for number, (affine, kernel) in enumerate(zip(network.affine, network.convolutions, strict=True)):
        if number:
            x = g.add(
                "Resize",
                x,
                "",
                [1.0, 1.0, 2.0, 2.0],
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        style = g.add("Add", g.add("MatMul", w, affine.T), [1.0])
        power = g.add("MatMul", g.add("Mul", style, style), kernel.square().sum((2, 3)).T)
        demodulation = g.add("Div", [1.0], g.add("Sqrt", g.add("Add", power, [EPSILON])))
        x = g.add("Conv", g.add("Mul", x, _planes(g, style)), kernel, pads=[1, 1, 1, 1])
        x = g.add("LeakyRelu", g.add("Mul", x, _planes(g, demodulation)), alpha=LEAK)
    return x


def _planes(g, x):
    return g.add("Unsqueeze", x, np.array([2, 3]))


def _last_layer(g, x, network, number):
    return g.add("Tanh" if number else "Sigmoid", g.add("Conv", x, network.last[number]))


def _chosen(g, heads, mechanism):
    """Return the image (B, 3, H, W) of the mechanism that an input names."""
    mask = g.add("Concat", heads[0], heads[0], heads[0], axis=1)
    images = g.add("Concat", *(g.add("Unsqueeze", one, np.array([1])) for one in (mask, *heads[1:])), axis=1)
    _, shape = mechanism
    if shape[-1:] == [3]:
        weights = g.add("Cast", "mechanism", to=1)
    else:
        number = g.add("Cast", g.add("Reshape", "mechanism", np.array([-1])), to=7)
        weights = g.add("OneHot", number, np.array([3]), np.array([0.0, 1.0]), axis=-1)
    weights = g.add("Reshape", weights, np.array([-1, 3, 1, 1, 1]))
    return g.add("ReduceSum", g.add("Mul", images, weights), np.array([1]), keepdims=0)
