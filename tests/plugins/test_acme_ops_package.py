"""A third party's operators: installed with pip, found by their entry point, proved by their own tests."""

import pytest

from tests.plugins.test_smoothtaylor_package import ROOT, python
from tests.plugins.test_smoothtaylor_package import installed_package as install

PACKAGE = ROOT / "plugins" / "onnxsal-acme-ops"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return install(PACKAGE, tmp_path_factory.mktemp("installed"))


def test_finding_it_imports_no_torch(installed):
    code = (
        "import sys; from onnxsal.plugins import registry; r = registry(); "
        "print(r.provider('operators', 'acme'), r.problems, 'torch' in sys.modules)"
    )
    assert python(installed, "-c", code).strip() == "onnxsal-acme-ops 0.1.0 [] False"


def test_it_passes_its_own_tests(installed):
    assert "passed" in python(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PACKAGE))
