from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxsal
from onnxsal import plugins
from onnxsal.errors import ImportFault, PluginError, UsageError
from onnxsal.importer.lookup import default_lookup
from onnxsal.plugins import registry
from tests import models_for_tests as tiny

Install = Callable[..., None]

METHOD = """
    from onnxsal import hookimpl
    from onnxsal.entries import Method

    def explain(score, feeds, *, factor: float = 2.0):
        '''The gradient, scaled.'''
        return {n: factor * g for n, g in score.gradients(feeds).items()}

    @hookimpl
    def onnxsal_methods():
        yield Method("NAME", explain)
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Return a function that puts a distribution with one plugin module on the path, as pip would."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("ONNXSAL_PLUGINS", raising=False)

    def put(distribution: str, source: str, version: str = "1.0", **modules: str) -> None:
        module = distribution.replace("-", "_")
        info = tmp_path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[onnxsal]\n{module}_point = {module}\n")
        for name, text in {module: source, **modules}.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        forget()

    yield put
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    forget()


def forget() -> None:
    registry.cache_clear()
    default_lookup.cache_clear()


def problems() -> str:
    return "\n".join(map(str, registry().problems))


def test_built_ins_come_in_by_the_hooks() -> None:
    assert {"saliency", "input_x_gradient", "integrated_gradients"} <= set(registry().names("methods"))
    assert {"cpu", "cuda", "mps", "xpu"} <= set(registry().names("devices"))
    provider = registry().provider("methods", "saliency")
    assert (provider.distribution, provider.version) == ("onnxsal", onnxsal.__version__)
    assert provider.plugin == "onnxsal.methods.saliency"


def test_a_third_partys_method_is_found_and_used(install: Install) -> None:
    install("acme-scaled", METHOD.replace("NAME", "scaled"), "2.3")
    a = onnxsal.explain(tiny.linear(), {"x": np.ones((1, 3), np.float32)}, method="scaled", target=0, factor=3)
    np.testing.assert_allclose(a.values["x"], [3 * tiny.WEIGHT[:, 0]])
    assert a.provenance.versions["acme-scaled"] == "2.3"
    assert str(registry().provider("methods", "scaled")) == "acme-scaled 2.3"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import nowhere", "cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
        ("raise SystemExit(3)", "cannot be imported: SystemExit"),
        ("def broken(:", "cannot be imported: SyntaxError"),
        (METHOD.replace("yield Method", "1 / 0; yield Method"), "onnxsal_methods raised ZeroDivisionError"),
        (METHOD.replace('Method("NAME", explain)', "'saliency'"), "yielded 'saliency', not a Method"),
        (METHOD.replace('"NAME"', "None"), "not a Method"),
        (METHOD.replace("def onnxsal_methods()", "def onnxsal_methds()"), "its hooks do not fit"),
        (METHOD.replace("def onnxsal_methods()", "def onnxsal_methods(extra)"), "its hooks do not fit"),
    ],
)
def test_a_broken_plugin_is_named_and_skipped(install: Install, source: str, reason: str) -> None:
    install("acme-good", METHOD.replace("NAME", "good"))
    install("acme-broken", source)
    assert reason in problems()
    assert "acme-broken 1.0" in problems()
    assert "acme_broken_point" in problems()
    assert {"good", "saliency"} <= set(registry().names("methods"))


def test_half_a_plugin_is_kept(install: Install) -> None:
    install(
        "acme-half",
        METHOD.replace("NAME", "half") + "\n    @hookimpl\n    def onnxsal_formats():\n        raise OSError('no')\n",
    )
    assert "half" in registry().names("methods")
    assert "onnxsal_formats raised OSError: no" in problems()


def test_a_clash_names_both_and_how_to_choose(install: Install) -> None:
    install("acme-one", METHOD.replace("NAME", "shared"))
    install("acme-two", METHOD.replace("NAME", "shared"))
    with pytest.raises(PluginError) as fault:
        registry().get("methods", "shared")
    assert "acme-one 1.0" in str(fault.value)
    assert "acme-two 1.0" in str(fault.value)
    assert "say acme-one:shared or acme-two:shared" in str(fault.value)
    assert registry().provider("methods", "acme-two:shared").distribution == "acme-two"
    assert fault.value.exit_code == 5


def test_a_clash_with_a_built_in_leaves_the_others_alone(install: Install) -> None:
    install("acme-saliency", METHOD.replace("NAME", "saliency"))
    with pytest.raises(PluginError, match="onnxsal:saliency"):
        registry().get("methods", "saliency")
    assert registry().get("methods", "onnxsal:saliency")
    assert registry().get("methods", "input_x_gradient")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("none", set()),
        ("acme-one", {"one"}),
        ("acme_two_point", {"two"}),
        ("acme-one,acme-two", {"one", "two"}),
        ("", set()),
    ],
)
def test_the_environment_limits_the_plugins(
    install: Install, monkeypatch: pytest.MonkeyPatch, setting: str, expected: set[str]
) -> None:
    install("acme-one", METHOD.replace("NAME", "one"))
    install("acme-two", METHOD.replace("NAME", "two"))
    monkeypatch.setenv("ONNXSAL_PLUGINS", setting)
    forget()
    assert set(registry().names("methods")) & {"one", "two"} == expected
    assert "saliency" in registry().names("methods")


def test_an_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'saliency'") as fault:
        registry().get("methods", "salency")
    assert "onnxsal list methods" in str(fault.value)


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        ("None", "returned NoneType"),
        ("{}", "returned"),
        ("{n: g[:, :1] for n, g in feeds.items()}", r"returned \[1, 1\] for input 'x' of shape \[1, 3\]"),
        ("{n: 0 for n in feeds}", "returned int for input 'x'"),
        ("1 / 0", "raised ZeroDivisionError"),
    ],
)
def test_a_method_that_misbehaves_is_a_plugins_fault(install: Install, returned: str, says: str) -> None:
    source = METHOD.replace("NAME", "bad").replace(
        "{n: factor * g for n, g in score.gradients(feeds).items()}", returned
    )
    install("acme-bad", source)
    with pytest.raises(PluginError, match=says) as fault:
        onnxsal.explain(tiny.linear(), {"x": np.ones((1, 3), np.float32)}, method="bad")
    assert "acme-bad 1.0" in str(fault.value)


OPERATORS = """
    from onnxsal import hookimpl
    from onnxsal.entries import Operators

    @hookimpl
    def onnxsal_operators():
        yield Operators("acme", "acme_ops")
"""
TRIPLE = """
    from torch import Tensor
    from onnxsal import op

    @op("Triple", domain="acme")
    def triple(x: Tensor, *, times: int = 1) -> Tensor:
        '''Three times the input.'''
        return 3 * times * x

    @op("Relu")
    def relu(x: Tensor) -> Tensor:
        '''Ours, replaced.'''
        return x.clamp(min=1)
"""


def private_model() -> onnx.ModelProto:
    nodes = [
        onnx.helper.make_node("Triple", ["x"], ["t"], name="triple", domain="acme", times=2),
        onnx.helper.make_node("Relu", ["t"], ["y"], name="relu"),
    ]
    proto = tiny.model(nodes, [("x", tiny.FLOAT, ["N", 3])], [("y", tiny.FLOAT, ["N", 3])])
    proto.opset_import.append(onnx.helper.make_opsetid("acme", 1))
    return proto


def test_a_plugin_adds_an_operator_and_replaces_one_of_ours(install: Install) -> None:
    install("acme-operators", OPERATORS, acme_ops=TRIPLE)
    a = onnxsal.explain(private_model(), {"x": np.float32([[1, 0, 2]])}, target=0, verify=False)
    np.testing.assert_array_equal(a.values["x"], [[6, 0, 0]])
    np.testing.assert_array_equal(a.score, [6])
    lowest = onnxsal.explain(private_model(), {"x": np.float32([[1, 0, 2]])}, target=1, verify=False)
    np.testing.assert_array_equal(lowest.score, [1])


def test_operators_that_cannot_be_imported_are_reported_and_left_out(install: Install) -> None:
    install("acme-operators", OPERATORS, acme_ops="import nowhere")
    with pytest.warns(UserWarning, match=r"acme-operators 1.0.*nowhere"), pytest.raises(ImportFault, match="Triple"):
        onnxsal.load(private_model()).torch()
    forget()
    with pytest.warns(UserWarning, match="acme-operators"):
        assert onnxsal.explain(tiny.linear(), {"x": np.ones((1, 3), np.float32)}).values["x"].any()


def test_an_unsupported_operator_is_named_with_who_could_add_it() -> None:
    with pytest.raises(ImportFault) as fault:
        onnxsal.load(private_model()).torch()
    message = str(fault.value)
    assert "node 'triple' (acme.Triple, opset 1)" in message
    assert "a plugin can add it" in message
    assert fault.value.exit_code == 3


def test_onnx2torchs_add_converter_still_works() -> None:
    from onnx2torch.node_converters import registry as converters
    from onnx2torch.utils.common import OnnxToTorchModule, OperationConverterResult, onnx_mapping_from_node
    from torch import Tensor, nn

    class Triple(nn.Module, OnnxToTorchModule):
        def __init__(self, times: int) -> None:
            super().__init__()
            self.times = times

        def forward(self, x: Tensor) -> Tensor:
            return 3 * self.times * x

    @converters.add_converter("Triple", 1, "acme")
    def convert(node, graph):  # type: ignore[no-untyped-def]
        return OperationConverterResult(Triple(node.attributes["times"]), onnx_mapping_from_node(node))

    try:
        a = onnxsal.explain(private_model(), {"x": np.float32([[1, 0, 2]])}, target=0, verify=False)
        np.testing.assert_array_equal(a.values["x"], [[6, 0, 0]])
    finally:
        del converters._CONVERTER_REGISTRY[converters.OperationDescription("acme", "Triple", 1)]


def test_every_kind_has_a_hook_that_yields_its_descriptor() -> None:
    for kind in plugins.kinds():
        assert issubclass(plugins.entry_type(kind), onnxsal.entries.Entry)
