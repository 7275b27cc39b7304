"""A model: its ports, names and hash, and the engines that run it, made on demand."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Hashable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from onnxsal.errors import ModelError, UsageError, nearest
from onnxsal.importer.graph import Graph
from onnxsal.importer.normalise import normalise
from onnxsal.importer.precision import has_halves, raised
from onnxsal.importer.quantised import rounds
from onnxsal.importer.read import confined, read_apart, read_proto
from onnxsal.types import Port, Precision, Quantized

if TYPE_CHECKING:
    import onnxruntime
    from torch import fx


CPU = "CPUExecutionProvider"

LIBRARIES = "ONNXSAL_ORT_LIBRARIES"
"""The variable that names shared libraries of custom operators, separated like those of ``PATH``."""


def load(
    source: str | os.PathLike[str] | bytes | onnx.ModelProto, *, ort_libraries: Sequence[str | os.PathLike[str]] = ()
) -> Model:
    """Open a model from a path, bytes or a protobuf.

    Nothing is built until it is needed; use `Model.torch` for the graph.

    Args:
        source: The file, its bytes, or the protobuf.
        ort_libraries: Shared libraries of custom operators for ONNX Runtime, beside those that
            ``ONNXSAL_ORT_LIBRARIES`` names. They run with all rights of this process.

    Raises:
        ModelError: the source cannot be read.
        UsageError: a library is missing.
    """
    libraries = tuple(map(_library, (*ort_libraries, *filter(None, os.environ.get(LIBRARIES, "").split(os.pathsep)))))
    if isinstance(source, onnx.ModelProto):
        source = source.SerializeToString()
    return Model(source if isinstance(source, bytes) else Path(source), libraries=libraries)


def _library(path: str | os.PathLike[str]) -> str:
    if not Path(path).is_file():
        raise UsageError("no such library", where=os.fspath(path), hint="give the shared library's file")
    return str(Path(path).resolve())


class Model:
    """An ONNX model as it was deployed.

    Args:
        source: The file, or its bytes.
        folder: Where external data lie; beside the file where None.
        libraries: Shared libraries of custom operators for ONNX Runtime.
    """

    def __init__(self, source: Path | bytes, folder: Path | None = None, libraries: tuple[str, ...] = ()) -> None:
        self.source = source
        self.libraries = libraries
        self.folder = source.parent if folder is None and isinstance(source, Path) else folder
        proto, apart = read_apart(source)
        self.opset: dict[str, int] = {entry.domain: entry.version for entry in proto.opset_import}
        self.producer = " ".join(filter(None, (proto.producer_name, proto.producer_version)))
        self.metadata = {entry.key: entry.value for entry in proto.metadata_props}
        self.external_files = sorted(_external_locations(proto))
        self.graph: Graph = normalise(proto, self.folder, apart)
        self.engines: dict[Hashable, Any] = {}
        """The engines that were opened over the model, by name, device and options."""
        self.proofs: dict[Hashable, Any] = {}
        """How far the import was found to be from ONNX Runtime (`onnxsal.parity`), by all that decides it."""
        self._modules: dict[tuple[str, Quantized, Precision], fx.GraphModule] = {}

    def with_graph(self, graph: Graph) -> Model:
        """Return the model with another graph of the same inputs and outputs; ONNX Runtime cannot run it."""
        other = copy.copy(self)
        other.source, other.graph = b"", graph
        other.engines, other.proofs, other._modules = {}, {}, {}
        return other

    @property
    def name(self) -> str:
        """The file's name, or the graph's."""
        return self.source.name if isinstance(self.source, Path) else self.graph.name or "model"

    @property
    def inputs(self) -> tuple[Port, ...]:
        """The inputs a caller feeds, in the graph's order; initialisers are not among them."""
        return self.graph.inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        """The outputs, in the graph's order."""
        return self.graph.outputs

    @cached_property
    def sha256(self) -> str:
        """The hash of the file's bytes, and of its external data where it has some."""
        digest = hashlib.sha256()
        for part in self._parts():
            digest.update(part)
        return digest.hexdigest()

    def _parts(self) -> Iterator[bytes]:
        if isinstance(self.source, bytes):
            yield self.source
        for file in self._files():
            with file.open("rb") as stream:
                while block := stream.read(1 << 20):
                    yield block

    def _files(self) -> list[Path]:
        """Return the files the model is in."""
        own = [self.source] if isinstance(self.source, Path) else []
        return [*own, *(confined(name, self.folder, "external data") for name in self.external_files)]

    @property
    def size(self) -> int:
        """Bytes of the file and its external data."""
        own = len(self.source) if isinstance(self.source, bytes) else 0
        return own + sum(file.stat().st_size for file in self._files())

    def rewritten(self, proto: onnx.ModelProto) -> Model:
        """Return a model of another protobuf, beside this one's external data."""
        return Model(proto.SerializeToString(), self.folder, self.libraries)

    @cached_property
    def is_quantised(self) -> bool:
        """Whether a node of the graph rounds to few bits."""
        return any(rounds(node) for node in self.graph.walk())

    @cached_property
    def is_half(self) -> bool:
        """Whether anything in the graph is float16 or bfloat16."""
        return has_halves(self.graph)

    def torch(
        self, device: str = "cpu", *, quantized: Quantized = "ste", precision: Precision = "native"
    ) -> fx.GraphModule:
        """Return the imported graph on a device: inputs in order in, tuple of outputs in order out.

        Args:
            device: A torch device.
            quantized: How a quantised model is read: ``ste`` computes what is deployed, gradients going straight
                through the rounding; ``float`` leaves the rounding out, saturation stays.
            precision: ``float32`` raises float16 and bfloat16, inputs and outputs included.

        Raises:
            ImportFault: an operator is not supported.
        """
        from onnxsal.importer.build import build

        key = device, quantized if self.is_quantised else "ste", precision if self.is_half else "native"
        if key not in self._modules:
            graph = raised(self.graph) if key[2] == "float32" else self.graph
            module = build(graph, rounding=key[1] == "ste")
            self._modules[key] = module if device == "cpu" else module.to(device)  # type: ignore[assignment]
        return self._modules[key]

    def session(
        self,
        *,
        optimised: bool = True,
        providers: Sequence[Any] | None = None,
        inner: Sequence[str] = (),
        packed: bool = True,
    ) -> onnxruntime.InferenceSession:
        """Return an ONNX Runtime session over the original file.

        Args:
            optimised: False gives the run that the file means, node by node.
            providers: ONNX Runtime execution providers, as it takes them; the CPU by default.
            inner: Values of the main graph that can be asked for beside the outputs.
            packed: Whether ONNX Runtime may keep weights once more, laid out for speed.

        Raises:
            ModelError: ONNX Runtime cannot load the file, or the file has no such values.
            UsageError: a provider cannot be set up on this machine.
        """
        options = session_options(optimised, packed=packed)
        source = self._showing(inner) if inner else self.source
        if isinstance(source, bytes) and self.folder is not None and self.external_files:
            folder = str(self.folder.resolve())
            options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
        try:
            for library in self.libraries:
                options.register_custom_ops_library(library)
            session = session_on(source if isinstance(source, bytes) else str(source), options, providers or [CPU])
        except UsageError:
            raise
        except Exception as error:  # onnxruntime raises a dozen unrelated classes
            raise ModelError(
                f"ONNX Runtime cannot load it: {' '.join(str(error).split())[:300]}",
                where=self.name,
                hint="check the file with onnx.checker; private operators need their library (--ort-library PATH)",
            ) from error
        return session

    def _showing(self, inner: Sequence[str]) -> bytes:
        """Return the file with some inner values as further outputs."""
        proto = read_proto(self.source)
        made = {name for node in proto.graph.node for name in node.output}
        missing = [name for name in inner if name not in made]
        if missing:
            raise ModelError(
                f"the file's main graph has no value {missing[0]!r}", where=self.name, hint=nearest(missing[0], made)
            )
        declared = {output.name for output in proto.graph.output}
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner if name not in declared)
        return proto.SerializeToString()

    def __repr__(self) -> str:
        ports = ", ".join(map(str, self.inputs)) + " -> " + ", ".join(map(str, self.outputs))
        return f"<Model {self.name}: {ports}>"


def session_on(source: str | bytes, options: Any, providers: Sequence[Any]) -> Any:
    """Return a session that computes by some execution providers, and not by others if those cannot be set up.

    Raises:
        UsageError: the first provider cannot be set up on this machine.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(source, options, providers=list(providers), enable_fallback=0)
    first = providers[0] if isinstance(providers[0], str) else providers[0][0]
    if first not in session.get_providers():
        raise UsageError(
            f"ONNX Runtime cannot set up {first} here",
            where="--device",
            hint="check its driver and libraries, or say -d cpu",
        )
    return session


def session_options(optimised: bool, *, packed: bool = True) -> Any:
    """Return quiet ONNX Runtime options; unpacked, weights are not kept once more in another layout."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    level = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimised else level.ORT_DISABLE_ALL
    if not packed:
        options.add_session_config_entry("session.disable_prepacking", "1")
    return options


def _external_locations(proto: onnx.ModelProto) -> set[str]:
    return {
        entry.value
        for tensor in _tensors(proto)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
        for entry in tensor.external_data
        if entry.key == "location"
    }


def _tensors(message: Any) -> Iterator[onnx.TensorProto]:
    """Yield every tensor that may refer to external data, sub-graphs and functions included."""
    graphs = [message.graph] if isinstance(message, onnx.ModelProto) else [message]
    functions = list(getattr(message, "functions", ()))
    for holder in (*graphs, *functions):
        yield from getattr(holder, "initializer", ())
        for node in holder.node:
            for attribute in node.attribute:
                yield attribute.t
                yield from attribute.tensors
                if attribute.HasField("g"):
                    yield from _tensors(attribute.g)
                for graph in attribute.graphs:
                    yield from _tensors(graph)
