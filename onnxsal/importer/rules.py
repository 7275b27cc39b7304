"""Other ways back: running a graph so that some nodes pass gradients by a rule of their own.

A rule is ``rule(call, gradient) -> gradients``: it is handed what a node was called with and what comes back to it,
and returns what goes back to each tensor among the node's inputs. In an ONNX graph every node is a place of its own,
so a rule never meets the same module twice and no functional call escapes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx

from onnxsal.importer.graph import Node


@dataclass
class Call:
    """One node of the graph, called.

    Args:
        node: The ONNX node.
        function: Computes the node's output from its tensors.
        inputs: The tensors among its inputs, constant weights of native layers not included.
        output: What it answered; a tuple where the node has several outputs.
        names: The ONNX names of the inputs that are tensors.
        reference: The same call in the reference run, where there was one.
    """

    node: Node
    function: Callable[..., Any]
    inputs: tuple[Tensor, ...]
    output: Any = None
    names: tuple[str, ...] = ()
    reference: Call | None = None
    constant: tuple[bool, ...] = field(default=())
    """For each input, whether it is the same whatever the model is fed."""

    def vjp(self, gradient: Any, inputs: Sequence[Tensor] | None = None) -> tuple[Tensor, ...]:
        """Return the ordinary gradients by every input, at the call's own inputs or at others."""
        leaves = [x.detach().requires_grad_(x.is_floating_point()) for x in inputs or self.inputs]
        with torch.enable_grad():
            output = self.function(*leaves)
        tracked = [leaf for leaf in leaves if leaf.requires_grad]
        pairs = _differentiable(output, gradient)
        if not pairs or not tracked:
            return tuple(torch.zeros_like(leaf) for leaf in leaves)
        found = torch.autograd.grad([o for o, _ in pairs], tracked, [g for _, g in pairs], allow_unused=True)
        by_leaf = dict(zip(map(id, tracked), found, strict=True))
        gradients = [by_leaf.get(id(leaf)) for leaf in leaves]
        return tuple(torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, gradients, strict=True))


def _differentiable(output: Any, gradient: Any) -> list[tuple[Tensor, Tensor]]:
    outputs = output if isinstance(output, tuple) else (output,)
    gradients = gradient if isinstance(gradient, tuple) else (gradient,)
    pairs = zip(outputs, gradients, strict=False)
    return [(o, g) for o, g in pairs if isinstance(o, Tensor) and o.requires_grad and g is not None]


Rule: TypeAlias = Callable[[Call, Any], Sequence["Tensor | None"]]
ChooseRule: TypeAlias = Callable[[Node], "Rule | None"]


def chooser(rules: Mapping[str, Rule] | ChooseRule) -> ChooseRule:
    """Return a function from node to rule; a mapping goes by operator name, ``domain.Name`` for other domains."""
    if callable(rules):
        return rules

    def choose(node: Node) -> Rule | None:
        return rules.get(f"{node.domain}.{node.op_type}" if node.domain else node.op_type)

    return choose


class RuledRun(fx.Interpreter):
    """Runs a graph with rules; give it the calls of a reference run for rules that compare with one."""

    def __init__(
        self, module: fx.GraphModule, choose: ChooseRule, references: Mapping[str, Call] | None = None
    ) -> None:
        super().__init__(module, garbage_collect_values=True)
        self.choose = choose
        self.references = references or {}
        self.calls: dict[str, Call] = {}
        self.varying: set[fx.Node] = set()
        self.record = False

    def run_node(self, n: fx.Node) -> Any:
        """Run one fx node, by its rule where it has one."""
        if n.op == "placeholder" or any(i in self.varying for i in n.all_input_nodes):
            self.varying.add(n)
        source: Node | None = n.meta.get("onnx")
        rule = self.choose(source) if source is not None and n in self.varying else None
        if source is None or rule is None:
            return super().run_node(n)
        return self._ruled(n, source, rule)

    def _ruled(self, n: fx.Node, source: Node, rule: Rule) -> Any:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        target = self.fetch_attr(str(n.target)) if n.op == "call_module" else n.target
        places = [i for i, value in enumerate(args) if isinstance(value, Tensor)]

        def function(*tensors: Tensor) -> Any:
            full = list(args)
            for place, tensor in zip(places, tensors, strict=True):
                full[place] = tensor
            return target(*full, **kwargs)  # type: ignore[operator]

        call = Call(
            source,
            function,
            tuple(args[i] for i in places),
            names=tuple(source.inputs[i] for i in places if i < len(source.inputs)),
            reference=self.references.get(source.name),
            constant=tuple(n.args[i] not in self.varying for i in places),
        )
        if self.record:
            with torch.no_grad():
                call.output = function(*call.inputs)
            self.calls[source.name] = call
            return call.output
        return _Ruled.apply(call, rule, *call.inputs)  # type: ignore[no-untyped-call]


class _Ruled(torch.autograd.Function):
    """A node's call whose way back is a rule."""

    @staticmethod
    def forward(ctx: Any, call: Call, rule: Rule, *inputs: Tensor) -> Any:
        ctx.call, ctx.rule = call, rule
        with torch.no_grad():
            call.output = call.function(*inputs)
        if isinstance(call.output, Tensor) and any(call.output is x for x in inputs):
            call.output = call.output.clone()  # autograd asks that an output be no input
        ctx.several = isinstance(call.output, tuple)
        return call.output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        back = ctx.rule(ctx.call, gradients if ctx.several else gradients[0])
        return None, None, *back


def record(module: fx.GraphModule, choose: ChooseRule, arguments: Sequence[Any]) -> dict[str, Call]:
    """Run a graph without gradients and return the calls of the nodes that have a rule."""
    run = RuledRun(module, choose)
    run.record = True
    with torch.no_grad():
        run.run(*arguments)
    return run.calls
