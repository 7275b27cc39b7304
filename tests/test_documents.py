"""The documents are what they say: generated parts are fresh, commands and code blocks run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs import generate
from onnxsal.cli import __file__ as cli_file
from onnxsal.importer.lookup import default_lookup
from onnxsal.plugins import registry

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = {path.name: path.read_text() for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return [match[1] for match in re.finditer(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a folder in which the sample models lie where the README says."""
    shutil.copytree(ROOT / "models", tmp_path / "models")
    return tmp_path


@pytest.mark.parametrize("path", generate.documents(), ids=lambda p: p.name)
def test_generated_parts_are_fresh(path: Path) -> None:
    assert generate.fresh(path.read_text()) == path.read_text(), "run python docs/generate.py"


COMMANDS = [line for block in blocks(README, "bash") for line in block.splitlines() if line]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_readmes_commands_run(command: str, repository: Path) -> None:
    words = shlex.split(command, comments=True)
    assert words[0] == "onnxsal"
    run = subprocess.run(
        [sys.executable, "-m", *words], cwd=repository, capture_output=True, text=True, check=False, timeout=300
    )
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    if "-o" in words:
        stem = words[words.index("-o") + 1].split(".")[0]
        assert list(repository.glob(f"{stem}*")), f"{command} wrote nothing"
    else:
        assert run.stdout


def test_the_readmes_python_runs(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (session,) = [block for block in blocks(README, "python") if "onnxsal.explain" in block]
    monkeypatch.chdir(repository)
    names: dict[str, object] = {}
    exec(compile(session, "README.md", "exec"), names)
    assert (repository / "digits.npz").stat().st_size > 1000
    assert names["a"].values["image"].shape == (10, 1, 8, 8)  # type: ignore[attr-defined]


def test_the_compilers_document_runs(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (session,) = blocks(DOCUMENTS["compile.md"], "python")
    monkeypatch.chdir(repository)
    names: dict[str, object] = {}
    exec(compile(session, "compile.md", "exec"), names)
    assert names["why"].shape == names["digits"].shape  # type: ignore[attr-defined]


COMPILATIONS = [line for block in blocks(DOCUMENTS["compile.md"], "bash") for line in block.splitlines() if line]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMPILATIONS)
def test_the_compilers_commands_run(command: str, repository: Path) -> None:
    words = shlex.split(command)
    subprocess.run([sys.executable, "-m", *words], cwd=repository, check=True, timeout=300)
    assert (repository / words[words.index("-o") + 1]).exists()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a folder on the path, in which a distribution announces a plugin."""
    monkeypatch.syspath_prepend(tmp_path)
    info = tmp_path / "documented-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: documented\nVersion: 1.0\n")
    yield tmp_path
    for name in [n for n, m in sys.modules.items() if str(getattr(m, "__file__", "")).startswith(str(tmp_path))]:
        del sys.modules[name]
    registry.cache_clear()
    default_lookup.cache_clear()


def put(folder: Path, text: str, entry_point: str) -> None:
    """Save each Python block that names its file, and announce the plugin."""
    for block in blocks(text, "python"):
        if match := re.match(r"# (\w+\.py)\n", block):
            (folder / match[1]).write_text(block)
    (folder / "documented-1.0.dist-info" / "entry_points.txt").write_text(f"[onnxsal]\n{entry_point}\n")
    registry.cache_clear()
    default_lookup.cache_clear()


def test_the_readmes_plugin_works(installed: Path) -> None:
    import numpy as np

    import onnxsal
    from tests import models_for_tests as tiny

    (announced,) = re.findall(r"^my_method = .*$", blocks(README, "toml")[0], re.MULTILINE)
    put(installed, README, announced.replace('"', ""))
    assert not registry().problems
    a = onnxsal.explain(tiny.linear(), {"x": np.ones((1, 3), np.float32)}, method="my_method", target=0, power=3)
    np.testing.assert_allclose(a.values["x"], [abs(tiny.WEIGHT[:, 0]) ** 3])
    assert len(blocks(README, "python")[-1].strip().splitlines()) <= 15


def test_the_documented_operator_works(installed: Path) -> None:
    import torch
    from onnx import helper

    import onnxsal
    from tests import models_for_tests as tiny

    put(installed, DOCUMENTS["plugins.md"], "my_plugin = my_plugin")
    node = helper.make_node("Swoosh", ["x"], ["y"], domain="com.acme", alpha=2.0)
    proto = tiny.model([node], [("x", tiny.FLOAT, ["N"])], [("y", tiny.FLOAT, ["N"])])
    proto.opset_import.append(helper.make_opsetid("com.acme", 1))
    x = torch.tensor([0.5])
    (y,) = onnxsal.load(proto).torch()(x)
    torch.testing.assert_close(y, torch.nn.functional.softplus(2 * x) - 0.08 * x)


def test_the_documented_rules_work(installed: Path) -> None:
    import numpy as np
    from onnx import helper

    import onnxsal
    from onnxsal.errors import UsageError
    from tests import models_for_tests as tiny

    swoosh = helper.make_node("Swoosh", ["x"], ["y"], domain="com.acme", alpha=2.0)
    nodes = [swoosh, helper.make_node("ReduceSum", ["y"], ["s"], keepdims=0)]
    proto = tiny.model(nodes, [("x", tiny.DOUBLE, [1, 3])], [("s", tiny.DOUBLE, [])])
    proto.opset_import.append(helper.make_opsetid("com.acme", 1))
    x = np.array([[0.5, 0.0, -2.0]])
    put(installed, DOCUMENTS["plugins.md"], "my_plugin = my_plugin")
    with pytest.raises(UsageError, match=r"no sound rule for 1 of 2 nodes: com\.acme\.Swoosh"):
        onnxsal.explain(proto, {"x": x}, method="deep_lift", verify=False)
    put(installed, DOCUMENTS["plugins.md"], "my_plugin = my_plugin\nmy_rules = my_rules")
    found = onnxsal.explain(proto, {"x": x}, method="deep_lift", verify=False)
    answers = [np.log1p(np.exp(2 * v)) - 0.08 * v for v in (x, 0 * x)]
    np.testing.assert_allclose(found.values["x"], answers[0] - answers[1], rtol=1e-12)
    found = onnxsal.explain(proto, {"x": x}, method="lrp", epsilon=0.0, verify=False)
    np.testing.assert_allclose(found.values["x"], answers[0], rtol=1e-12)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    folder = ROOT if name == "README.md" else ROOT / "docs"
    for target in re.findall(r"\]\(([^)#:]+)\)", DOCUMENTS[name]):
        assert (folder / target).exists(), target


def test_every_exit_code_is_documented() -> None:
    from onnxsal import errors

    codes = {c.exit_code for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.OnnxsalError)}
    (line,) = re.findall(r"^Exit codes:.*?\n\n", README, re.MULTILINE | re.DOTALL)
    assert {int(code) for code in re.findall(r"`(\d+)`", line)} == codes | {0, 130}


def test_the_commands_of_the_readme_are_all_there_are() -> None:
    commands = {p.stem for p in Path(cli_file).parent.glob("[a-z]*.py")}
    assert commands == set(re.findall(r"^onnxsal (\w+)", textwrap.dedent(README), re.MULTILINE))
