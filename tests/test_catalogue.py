"""The catalogue read from the source says what the imported operators say."""

from __future__ import annotations

import sys
import textwrap

import pytest

from onnxsal.catalogue import operators
from onnxsal.entries import Operators
from onnxsal.importer.lookup import default_lookup
from onnxsal.plugins import OURS, Provider, registry


def test_every_operator_is_found_and_no_other():
    read = {(d.domain, d.name, d.since) for d in operators() if d.provider.distribution == OURS}
    declared = {(o.domain, o.name, o.since) for o, p in default_lookup() if p.distribution == OURS}
    assert read == declared


def test_every_operator_says_what_it_does():
    assert [d for d in operators() if not d.summary] == []


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    source = '''
        import onnxsal

        DOMAIN = "com.example"

        @onnxsal.op("Twist", since=3, domain=DOMAIN)
        @onnxsal.op("Whirl", domain="com.example")
        def whirl(x):
            """Turn around."""

        def make(name, first=5, *, summary="Made."):
            def inner(x): ...
            return declare(inner, name, first)

        def declare(function, name, since):
            return onnxsal.op(name, since=since)(function) if since else make(name)

        spin = make("Spin")
        roll = make("Roll", 7, summary="Roll on.")
    '''
    (tmp_path / "stranger_ops.py").write_text(textwrap.dedent(source))
    monkeypatch.syspath_prepend(tmp_path)
    claims = [(Operators("stranger", "stranger_ops"), Provider("stranger", "1.0", "stranger"))]
    monkeypatch.setitem(registry().entries["operators"], "stranger", claims)


@pytest.mark.usefixtures("stranger")
def test_a_stranger_s_module_is_read_without_being_run():
    found = {(d.domain, d.name, d.since): d.summary for d in operators() if d.provider.distribution == "stranger"}
    assert found == {
        ("com.example", "Twist", 3): "Turn around.",
        ("com.example", "Whirl", 1): "Turn around.",
        ("", "Spin", 5): "Made.",
        ("", "Roll", 7): "Roll on.",
    }
    assert "stranger_ops" not in sys.modules
