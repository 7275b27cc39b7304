"""Attention with few heads of keys, over caches of every form, against ONNX Runtime."""

from functools import partial

import numpy as np
import onnxruntime
import pytest
import torch

from onnxsal.errors import ImportFault
from onnxsal.importer.build import build
from onnxsal.importer.normalise import normalise
from tests.importer.ops.support import check as check_any
from tests.importer.ops.support import node_model, run_onnxruntime

RANDOM = np.random.default_rng(23)
MS = {"opset": 1, "domain": "com.microsoft"}
check = partial(check_any, **MS, rtol=1e-4, atol=1e-5)
B, N, S = 2, 2, 4


def _x(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def _angles(places, size):
    angles = np.arange(places)[:, None] / 10.0 ** np.arange(size // 2)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


G, W = 4, 16


def _grouped(queries, past, lengths, total=None, rotary=False, packed=False, extra=(), **attributes):
    """Check GroupQueryAttention: ``past`` is the cache's length, ``lengths`` how many keys each example has in all."""
    q, k, v = _x(B, queries, G * W), _x(B, queries, N * W), _x(B, queries, N * W)
    qkv = [np.concatenate([q, k, v], 2), None, None] if packed else [q, k, v]
    cache = [None, None] if past is None else [_x(B, N, past, W), _x(B, N, past, W)]
    total = max(lengths) if total is None else total
    inputs = [*qkv, *cache, np.array(lengths, np.int32) - 1, np.array(total, np.int32)]
    inputs += [*_angles(16, W)] if rotary else [None, None]
    inputs += list(extra)
    outputs = 3
    constants = [i for i in (5, 6, 7, 8) if i < len(inputs) and inputs[i] is not None]
    check("GroupQueryAttention", inputs, num_heads=G, kv_num_heads=N, do_rotary=int(rotary), n_outputs=outputs,
          constants=constants, **attributes)  # fmt: skip


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_grouped_prompt(rotary, packed):
    _grouped(S, None, [S, S], rotary=rotary, packed=packed)
    _grouped(S, 0, [S, S], rotary=rotary, packed=packed)


@pytest.mark.parametrize("rotary", [False, True])
def test_grouped_next_token(rotary):
    _grouped(1, 5, [6, 6], rotary=rotary)
    _grouped(1, 5, [6, 4], rotary=rotary)


@pytest.mark.parametrize("places", [None, np.array([[1, 4, 7]])])
def test_grouped_several_tokens(places):
    """ONNX Runtime takes them for one example at a time."""
    q, k, v, past = _x(1, 3, G * W), _x(1, 3, N * W), _x(1, 3, N * W), _x(1, N, 5, W)
    inputs = [q, k, v, past, past, np.array([7], np.int32), np.array(8, np.int32), *_angles(16, W), places]
    check("GroupQueryAttention", inputs, num_heads=G, kv_num_heads=N, do_rotary=1, n_outputs=3, constants=[5, 6, 7, 8])


@pytest.mark.parametrize("option", [{"local_window_size": 2}, {"softcap": 1.5}, {"scale": 0.2}, {"smooth_softmax": 1},
                                    {"rotary_interleaved": 1, "rotary": True}])  # fmt: skip
def test_grouped_options(option):
    _grouped(S, None, [S, S], **option)
    _grouped(1, 5, [6, 6], **option)


def test_grouped_places_and_bias():
    _grouped(S, None, [S, S], rotary=True, extra=[np.array([[1, 2, 3, 4], [0, 1, 2, 3]])])
    _grouped(1, 5, [6, 4], rotary=True, extra=[np.array([[7], [2]])])
    _grouped(S, None, [S, S], extra=[None, _x(1, G, S, S)])
    _grouped(S, None, [S, S], extra=[None, None, _x(G)])


def test_grouped_norms():
    """ONNX Runtime's CPU does not normalise, so it is handed what is normalised already."""
    weights = [_x(W), _x(W)]
    inputs = [_x(B, S, G * W), _x(B, S, N * W), _x(B, S, N * W)]
    rest = [None, None, np.full(B, S - 1, np.int32), np.array(S, np.int32)]
    normal = [_normal(inputs[0], G, weights[0]), _normal(inputs[1], N, weights[1]), inputs[2]]
    options = {"num_heads": G, "kv_num_heads": N, "n_outputs": 3}
    model = node_model("GroupQueryAttention", [*normal, *rest], **MS, **options)
    expected = run_onnxruntime(model, [*normal, *rest[2:]])
    inputs = [*inputs, *rest, *[None] * 7, *weights]
    check("GroupQueryAttention", inputs, **options, qk_norm_epsilon=1e-5, constants=[5, 6], expected=expected)


def _normal(x, heads, weight):
    apart = x.reshape(B, S, heads, W)
    return (apart / np.sqrt((apart**2).mean(-1, keepdims=True) + 1e-5) * weight).reshape(x.shape)


def test_grouped_prompts_of_different_lengths():
    _grouped(S, None, [S, 2])
    _grouped(S, None, [S, 2], rotary=True)


def test_grouped_both_ways():
    _grouped(S, None, [S, S], causal=0)


def _run(op, inputs, **attributes):
    """Return what we and what ONNX Runtime give, as arrays."""
    model = node_model(op, inputs, **MS, n_outputs=3, **attributes)
    fed = [a for a in inputs if a is not None]
    ours = build(normalise(model))(*(torch.from_numpy(np.array(a)) for a in fed))
    return [y.numpy() for y in ours], model, fed


def _agree(ours, theirs, rows):
    """Compare those rows of each example, along the axis before the last, that are specified."""
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    for example, count in enumerate(rows):
        mine, other = ours[example, ..., :count, :], theirs[example, ..., :count, :]
        if ours.dtype.kind == "f":
            np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("places", [False, True])
@pytest.mark.parametrize(
    ("queries", "lengths", "given"), [(3, [4, 3], [2, 3]), (3, [5, 3], [2, 0]), (1, [5, 3], [1, 0])]
)
def test_grouped_padded_chunks(rotary, places, queries, lengths, given):
    new = [_x(B, queries, h * W) for h in (G, N, N)]
    angles = [*_angles(16, W), RANDOM.integers(0, 9, (B, queries)) if places else None] if rotary else [None] * 3
    inputs = [*new, _x(B, N, 8, W), _x(B, N, 8, W), np.array(lengths, np.int32) - 1, np.array(7, np.int32), *angles,
              *[None] * 6, np.array(given, np.int32)]  # fmt: skip
    ours, model, fed = _run("GroupQueryAttention", inputs, num_heads=G, kv_num_heads=N, do_rotary=int(rotary))
    for mine, theirs, rows in zip(ours, run_onnxruntime(model, fed), (given, lengths, lengths), strict=True):
        _agree(mine, theirs, rows)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("queries", "rows", "window", "lengths"), [
    (1, 4, 4, [3, 2]), (1, 4, 4, [9, 7]), (1, 6, 4, [9, 5]), (1, 6, 3, [13, 8]), (3, 6, 4, [9]), (8, 6, 4, [12]),
    (7, 4, 4, [7]),
])  # fmt: skip
def test_grouped_cache_of_the_last_tokens(bias, queries, rows, window, lengths):
    batch = len(lengths)
    new = [_x(batch, queries, h * W) for h in (G, N, N)]
    shown = [_x(1, G, queries, max(lengths))] if bias else []
    inputs = [*new, _x(batch, N, rows, W), _x(batch, N, rows, W), np.array(lengths, np.int32) - 1,
              np.array(max(lengths), np.int32), *_angles(16, W), None, *shown]  # fmt: skip
    ours, model, fed = _run("GroupQueryAttention", inputs, num_heads=G, kv_num_heads=N, do_rotary=1,
                            sliding_window_cache=1, local_window_size=window)  # fmt: skip
    slack = rows - window + 1
    kept = [n if n <= rows else n - slack * -(-(n - rows) // slack) for n in lengths]
    for mine, theirs, count in zip(ours, run_onnxruntime(model, fed), ([queries] * batch, kept, kept), strict=True):
        _agree(mine, theirs, count)


def _stored(bits, *shape):
    if bits == 8:
        return RANDOM.integers(-128, 128, shape).astype(np.int8)
    return RANDOM.integers(0, 256, (*shape[:-1], shape[-1] // 2)).astype(np.uint8)


def _quantised(bits, kind, queries, past, **attributes):
    batch = 1 if past and queries > 1 else B
    new = [_x(batch, queries, h * W) for h in (G, N, N)]
    base = 0.01 if bits == 8 else 0.2
    shape = (1,) if kind == "PER_TENSOR" else (1, N, 1, W)
    scales = [(base * (0.5 + RANDOM.random(shape))).astype(np.float32) for _ in range(2)]
    cache = [_stored(bits, batch, N, past, W) for _ in range(2)]
    total = past + queries
    inputs = [*new, *cache, np.full(batch, total - 1, np.int32), np.array(total, np.int32), *_angles(16, W), None, None,
              None, *scales]  # fmt: skip
    attributes |= {"num_heads": G, "kv_num_heads": N, "do_rotary": 1, "kv_cache_bit_width": bits}
    return inputs, attributes | {"k_quant_type": kind, "v_quant_type": kind}


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("kind", ["PER_TENSOR", "PER_CHANNEL"])
@pytest.mark.parametrize(("queries", "past"), [(1, 5), (3, 5), (5, 0)])
def test_grouped_quantised_cache(bits, kind, queries, past):
    inputs, attributes = _quantised(bits, kind, queries, past)
    check("GroupQueryAttention", inputs, n_outputs=3, constants=[6], **attributes)


def test_a_gradient_passes_through_a_quantised_cache():
    inputs, attributes = _quantised(8, "PER_TENSOR", 3, 0)
    inputs[12] = inputs[13] = np.array([0.05], np.float32)  # with which nothing saturates
    model = node_model("GroupQueryAttention", inputs, **MS, n_outputs=3, constants=[6], **attributes)
    fed = [torch.from_numpy(np.array(a)) for i, a in enumerate(inputs) if a is not None and i != 6]
    fed[2].requires_grad_()
    build(normalise(model))(*fed)[0].sum().backward()
    # each query's weights sum to one, so each value counts as much as the queries look at it: in all, their number
    assert fed[2].grad.sum().item() == pytest.approx(B * 3 * G * W, rel=1e-5)


@pytest.mark.parametrize("option", [{"k_quant_type": "PER_TENSOR"}, {"k_quant_type": "PER_BLOCK"},
                                    {"sliding_window_cache": 1, "local_window_size": 2}])  # fmt: skip
def test_incomplete_caches_are_refused(option):
    inputs = [_x(B, 1, h * W) for h in (G, N, N)] + [None, None, np.zeros(B, np.int32), np.array(1, np.int32)]
    with pytest.raises(ImportFault, match="cache"):
        _run("GroupQueryAttention", inputs, num_heads=G, kv_num_heads=N, **option)


LAYOUTS = {
    "one": (np.array([[0, 1, 3, 6, 10]]), np.array([[0, 0, 1, 0, 1, 2, 0, 1, 2, 3]])),
    "two": (np.array([[0, 1, 3, 5, 8], [0, 1, 3, 6, 9]]),
            np.array([[0, 0, 1, 1, 2, 1, 2, 3, -1], [0, 0, 1, 0, 1, 2, 0, 2, 3]])),
}  # fmt: skip


def _in_place(model, inputs, shared):
    """Run a model in ONNX Runtime that writes some outputs where inputs lie."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    values = {p.name: onnxruntime.OrtValue.ortvalue_from_numpy(np.array(v))
              for p, v in zip(session.get_inputs(), inputs, strict=True)}  # fmt: skip
    for name, value in values.items():
        binding.bind_ortvalue_input(name, value)
    for port in session.get_outputs():
        if port.name in shared:
            binding.bind_ortvalue_output(port.name, values[shared[port.name]])
        else:
            binding.bind_output(port.name)
    session.run_with_iobinding(binding)
    return [value.numpy().copy() for value in binding.get_outputs()]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize(("queries", "total"), [(50, 50), (1, 51), (3, 20), (64, 64)])
def test_sparse_attention(layout, rotary, queries, total):
    new = [_x(B, queries, h * W) for h in (G, N, N)]
    inputs = [*new, _x(B, N, 64, W), _x(B, N, 64, W), *(a.astype(np.int32) for a in LAYOUTS[layout]),
              np.array(total, np.int32), np.full(B, total, np.int32), *(_angles(64, W) if rotary else ())]  # fmt: skip
    ours, model, fed = _run("SparseAttention", inputs, num_heads=G, kv_num_heads=N, sparse_block_size=16,
                            do_rotary=int(rotary))  # fmt: skip
    for mine, theirs in zip(ours, _in_place(model, fed, {"y1": "x3", "y2": "x4"}), strict=True):
        _agree(mine, theirs, [mine.shape[-2]] * B)


def test_sparse_attention_of_examples_of_several_lengths():
    """ONNX Runtime's kernel reads what nobody wrote for the shorter ones, so each is compared alone."""
    lengths = [51, 40]
    new = [np.concatenate([_x(B, 1, h * W) for h in (G, N, N)], 2), None, None]
    inputs = [*new, _x(B, N, 64, W), _x(B, N, 64, W), *(a.astype(np.int32) for a in LAYOUTS["two"]),
              np.array(51, np.int32), np.array(lengths, np.int32)]  # fmt: skip
    attributes = {"num_heads": G, "kv_num_heads": N, "sparse_block_size": 16, "scale": 0.2}
    together, _, _ = _run("SparseAttention", inputs, **attributes)
    for i, length in enumerate(lengths):
        alone = [inputs[0][i : i + 1], None, None, inputs[3][i : i + 1], inputs[4][i : i + 1], *inputs[5:7],
                 np.array(length, np.int32), np.array([length], np.int32)]  # fmt: skip
        _, model, fed = _run("SparseAttention", alone, **attributes)
        for mine, theirs in zip(together, _in_place(model, fed, {"y1": "x3", "y2": "x4"}), strict=True):
            _agree(mine[i : i + 1], theirs, [mine.shape[-2]])
