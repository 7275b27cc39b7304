"""Other ways back: running a graph so that some nodes pass gradients by a rule of their own.

A rule is ``rule(call, gradient) -> gradients``: it is handed what a node was called with and what comes back to it,
and returns what goes back to each tensor among the node's inputs. In an ONNX graph every node is a place of its own,
so a rule never meets the same module twice and no functional call escapes it. Nodes of sub-graphs are places too, one
for each time the sub-graph runs; and so are the parts of an operator of several steps that has no rule itself.
"""

from __future__ import annotations

import functools
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call

from onnxsal.importer.graph import Node
from onnxsal.importer.operator import Operator, operators_of
from onnxsal.importer.parts import taken_by
from onnxsal.importer.quantised import Operand, Real, Unrounded

PARTS_OPSET = 23
"""The version of the standard operators that parts stand for."""

LAYER_WEIGHTS = ("weight", "bias", "running_mean", "running_var")
"""What torch's layers call the constants of Conv, Gemm and the like, in the order of the ONNX node's inputs."""


@dataclass
class Call:
    """One node of the graph, called.

    Args:
        node: The ONNX node.
        function: Computes the node's output from its tensors.
        inputs: The tensors among its inputs, constant weights of native layers not included.
        output: What it answered; a tuple where the node has several outputs.
        names: The ONNX names of the inputs that are tensors.
        reference: The same call in the reference run, where there was one and it was handed the same shapes.
        constant: For each input, whether it is the same whatever the model is fed.
        places: For each input, its place among the node's inputs.
        weights: The constants of a native layer by their place among the node's inputs.
        sources: For each input, the call that made it, where that has a rule too.
        memo: What the rule of a later call left here for this one's.
        meaning: What a quantised operator means on real numbers, from the same tensors.
        place: The node's name, and the how many-th call of the node it is.
    """

    node: Node
    function: Callable[..., Any]
    inputs: tuple[Tensor, ...]
    output: Any = None
    names: tuple[str, ...] = ()
    reference: Call | None = None
    constant: tuple[bool, ...] = ()
    places: tuple[int, ...] = ()
    weights: Mapping[int, Tensor] = field(default_factory=dict)
    sources: tuple[Call | None, ...] = ()
    memo: dict[str, Any] = field(default_factory=dict)
    layer: nn.Module | None = None
    meaning: Callable[..., Real] | None = None
    place: Place = ("", 0)
    way: tuple[list[Tensor], Any] | None = field(default=None, init=False, repr=False)
    """The inputs and the output between which the ordinary way back is still open, for one use."""

    def run(self) -> Any:
        """Compute the output; the way back stays open where it holds no more than the call does."""
        leaves, output = self._open(self.inputs)
        self.output = _detached(output)
        self.way = (leaves, output) if _is_one_step(output) else None
        return self.output

    def _open(self, inputs: Sequence[Tensor]) -> tuple[list[Tensor], Any]:
        leaves = [x.detach().requires_grad_(x.is_floating_point()) for x in inputs]
        with torch.enable_grad():
            return leaves, self.function(*leaves)

    def vjp(self, gradient: Any, inputs: Sequence[Tensor] | None = None) -> tuple[Tensor, ...]:
        """Return the ordinary gradients by every input, at the call's own inputs or at others."""
        way, self.way = (self.way, None) if inputs is None else (None, self.way)
        leaves, output = way or self._open(inputs or self.inputs)
        tracked = [leaf for leaf in leaves if leaf.requires_grad]
        pairs = _differentiable(output, gradient)
        if not pairs or not tracked:
            return tuple(torch.zeros_like(leaf) for leaf in leaves)
        found = torch.autograd.grad([o for o, _ in pairs], tracked, [g for _, g in pairs], allow_unused=True)
        by_leaf = dict(zip(map(id, tracked), found, strict=True))
        gradients = [by_leaf.get(id(leaf)) for leaf in leaves]
        return tuple(torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, gradients, strict=True))

    def with_constants(self, change: Callable[[int, Tensor], Tensor]) -> Call:
        """Return the call with other constants: ``change(place, constant)``, the place among the node's inputs."""
        inputs = tuple(
            change(place, x) if fixed and x.is_floating_point() else x
            for x, fixed, place in zip(self.inputs, self.constant, self.places, strict=True)
        )
        if self.layer is None or not self.weights:
            return replace(self, inputs=inputs)
        weights = {place: change(place, w) for place, w in self.weights.items()}
        named = {LAYER_WEIGHTS[place - 1]: w for place, w in weights.items()}
        return replace(
            self, inputs=inputs, weights=weights, function=functools.partial(functional_call, self.layer, named)
        )

    def real(self) -> RealCall:
        """Return the call on real numbers that a call of a quantised operator stands for, and the reference's."""
        assert self.meaning is not None, f"{self.node} is not quantised"
        found = self.meaning(*self.inputs)
        fixed = dict(zip(self.places, self.constant, strict=True))
        call = RealCall(
            replace(self.node, op_type=found.op_type, domain="", opset=found.opset),
            found.function,
            tuple(operand.value for operand in found.operands),
            constant=tuple(fixed[operand.place] for operand in found.operands),
            places=tuple(range(len(found.operands))),
            sources=(None,) * len(found.operands),
            reference=None if self.reference is None else self.reference.real(),
            operands=found.operands,
            step=found.step,
            bounds=found.bounds,
        )
        call.run()
        return call


@dataclass
class RealCall(Call):
    """The call of an operator on real numbers that a quantised one stands for.

    Args:
        operands: Where the inputs come from.
        step: What one step of the quantised result is worth; None where that is real.
        bounds: The smallest and the largest real number that such a result can stand for.
    """

    operands: tuple[Operand, ...] = ()
    step: Tensor | None = None
    bounds: tuple[Tensor, Tensor] | None = None


def _meaning(target: Any) -> Callable[..., Real] | None:
    """Return what a quantised operator means on real numbers; None of others."""
    function = target.function if isinstance(target, Unrounded) else target
    operators = [function] if isinstance(function, Operator) else operators_of(function)
    return operators[0].real if operators else None


def _detached(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(map(_detached, value))
    return value.detach() if isinstance(value, Tensor) else value


def _is_one_step(output: Any) -> bool:
    """Say whether an output is one step of autograd away from what it was computed from."""
    step = output.grad_fn if isinstance(output, Tensor) else None
    return step is not None and all(before is None or not before.next_functions for before, _ in step.next_functions)


def _differentiable(output: Any, gradient: Any) -> list[tuple[Tensor, Tensor]]:
    outputs = output if isinstance(output, tuple) else (output,)
    gradients = gradient if isinstance(gradient, tuple) else (gradient,)
    pairs = zip(outputs, gradients, strict=False)
    return [(o, g) for o, g in pairs if isinstance(o, Tensor) and o.requires_grad and g is not None]


Rule: TypeAlias = Callable[[Call, Any], Sequence["Tensor | None"]]
ChooseRule: TypeAlias = Callable[[Node], "Rule | None"]
Place: TypeAlias = tuple[str, int]
"""A node's name and how often it was called before: nodes of a loop's body are called again and again."""


def chooser(rules: Mapping[str, Rule] | ChooseRule) -> ChooseRule:
    """Return a function from node to rule; a mapping goes by operator name, ``domain.Name`` for other domains."""
    if callable(rules):
        return rules

    def choose(node: Node) -> Rule | None:
        return rules.get(node.operator)

    return choose


@dataclass
class _Journal:
    """What the runs of a graph and of its sub-graphs write down together."""

    references: Mapping[Place, Call]
    record: bool
    calls: dict[Place, Call] = field(default_factory=dict)
    open: list[weakref.ref[Call]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def run(self, call: Call, rule: Rule) -> Any:
        """Answer a call; its way back is the rule's."""
        self.counts[call.node.name] += 1
        call.place = call.node.name, self.counts[call.node.name]
        if self.record:
            with torch.no_grad():
                call.output = call.function(*call.inputs)
            call.sources = ()  # a reference is asked for its numbers only
            self.calls[call.place] = call
            return call.output
        call.reference = _beside(call, self.references.get(call.place))
        self.open.append(weakref.ref(call))  # the way back holds it, not we
        return _Ruled.apply(call, rule, *call.inputs)  # type: ignore[no-untyped-call]


class RuledRun(fx.Interpreter):
    """Runs a graph with rules; give it the calls of a reference run for rules that compare with one."""

    def __init__(
        self,
        module: fx.GraphModule,
        choose: ChooseRule,
        references: Mapping[Place, Call] | None = None,
        *,
        record: bool = False,
        journal: _Journal | None = None,
        constant: Sequence[bool] = (),
    ) -> None:
        super().__init__(module, garbage_collect_values=True)
        self.choose = choose
        self.journal = journal or _Journal(references or {}, record)
        self.varying: set[fx.Node] = set()
        self.made: dict[fx.Node, Call] = {}
        inputs = [n for n in module.graph.nodes if n.op == "placeholder"]
        self.fixed = {n for n, fixed in zip(inputs, constant, strict=False) if fixed}

    def run_node(self, n: fx.Node) -> Any:
        """Run one fx node, by its rule where it has one."""
        fed = n.op == "placeholder" and n not in self.fixed
        if fed or any(i in self.varying for i in n.all_input_nodes):
            self.varying.add(n)
        if n.target is functools.partial:
            return self._body(n)
        source: Node | None = n.meta.get("onnx")
        if source is None or source.subgraphs or n not in self.varying:
            return super().run_node(n)
        rule = self.choose(source)
        if rule is None:
            with taken_by(_Parts(self, source)):
                return super().run_node(n)
        return self._ruled(n, source, rule)

    def _body(self, n: fx.Node) -> Any:
        """Return a sub-graph, bound to the outer values it reads, that runs with rules as well."""
        (body, *outer), _ = self.fetch_args_kwargs_from_env(n)
        constant = [value not in self.varying for value in n.args[1:]]
        return functools.partial(_RuledBody(body, self.choose, self.journal, constant), *outer)

    def _ruled(self, n: fx.Node, source: Node, rule: Rule) -> Any:
        call = self._call_of(n, source)
        if not any(x.is_floating_point() for x in call.inputs):
            return super().run_node(n)
        self.made[n] = call
        return self.journal.run(call, rule)

    def _call_of(self, n: fx.Node, source: Node) -> Call:
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        target = self.fetch_attr(str(n.target)) if n.op == "call_module" else n.target
        places = tuple(i for i, value in enumerate(args) if isinstance(value, Tensor))

        def given(function: Any, *tensors: Tensor) -> Any:
            full = list(args)
            for place, tensor in zip(places, tensors, strict=True):
                full[place] = tensor
            return function(*full, **kwargs)

        meaning = _meaning(target)
        return Call(
            source,
            functools.partial(given, target),
            tuple(args[i] for i in places),
            names=tuple(source.inputs[i] for i in places if i < len(source.inputs)),
            constant=tuple(n.args[i] not in self.varying for i in places),
            places=places,
            weights=_weights(target, n.meta.get("onnx_weights", ())),
            sources=tuple(self.made.get(n.args[i]) for i in places),  # type: ignore[arg-type]
            layer=target if isinstance(target, nn.Module) else None,
            meaning=None if meaning is None else functools.partial(given, meaning),
        )


class _Parts:
    """Runs the parts of a node, each by its rule where it has one."""

    def __init__(self, run: RuledRun, source: Node) -> None:
        self.run, self.source = run, source

    def wants(self, operator: str) -> bool:
        """Say whether parts that stand for an operator have a rule."""
        return self.run.choose(self._node(operator)) is not None

    def take(
        self, operator: str, function: Callable[..., Tensor], inputs: tuple[Tensor, ...], about: Mapping[str, Any]
    ) -> Tensor:
        """Run a part."""
        node = self._node(operator, len(inputs), about)
        rule = self.run.choose(node)
        if rule is None or not any(x.is_floating_point() for x in inputs):
            return function(*inputs)
        constant = tuple(not x.requires_grad for x in inputs)
        call = Call(
            node,
            function,
            inputs,
            constant=constant,
            places=tuple(range(len(inputs))),
            sources=(None,) * len(inputs),
            meaning=_meaning(function),
        )
        answer: Tensor = self.run.journal.run(call, rule)
        return answer

    def _node(self, operator: str, inputs: int = 0, about: Mapping[str, Any] | None = None) -> Node:
        domain, _, op_type = operator.rpartition(".")
        name = f"{operator} of {self.source.name}"
        return Node(name, op_type, domain, PARTS_OPSET, tuple(f"{name}:{i}" for i in range(inputs)), (), about or {})


class _RuledBody:
    """A sub-graph that runs with rules each time it is called."""

    def __init__(self, body: fx.GraphModule, choose: ChooseRule, journal: _Journal, constant: Sequence[bool]) -> None:
        self.body, self.choose, self.journal, self.constant = body, choose, journal, constant
        self.meta = body.meta

    def __call__(self, *inputs: Any) -> Any:
        """Run it."""
        return RuledRun(self.body, self.choose, journal=self.journal, constant=self.constant).run(*inputs)


def _beside(call: Call, reference: Call | None) -> Call | None:
    """Return the reference run's call where it was handed the same shapes."""
    alike = reference is not None and [x.shape for x in reference.inputs] == [x.shape for x in call.inputs]
    return reference if alike else None


class OpenRun:
    """A run of a graph whose rules are chosen once it is over; the way back can be gone once.

    Args:
        module: The graph.
        operators: The operators that may get a rule.
    """

    def __init__(self, module: fx.GraphModule, operators: Collection[str]) -> None:
        self.module, self.operators = module, frozenset(operators)
        self._choose: ChooseRule = lambda _: None
        self._calls: list[weakref.ref[Call]] = []

    def run(self, arguments: Sequence[Any]) -> Sequence[Any]:
        """Run the graph."""
        interpreter = RuledRun(self.module, lambda node: self._back if node.operator in self.operators else None)
        answers: Sequence[Any] = interpreter.run(*arguments)
        self._calls = interpreter.journal.open
        return answers

    def takes(self, choose: ChooseRule) -> bool:
        """Say whether rules are for the operators named before, and each node is a place of its own."""
        nodes = [n.meta["onnx"] for n in self.module.graph.nodes if "onnx" in n.meta]
        plain = len({node.name for node in nodes}) == len(nodes) and not any(node.subgraphs for node in nodes)
        return plain and all(node.operator in self.operators or choose(node) is None for node in nodes)

    def settle(self, choose: ChooseRule, references: Mapping[Place, Call]) -> None:
        """Choose the rules, and what they compare with."""
        self._choose = choose
        for call in filter(None, (held() for held in self._calls)):
            call.reference = _beside(call, references.get(call.place))

    def _back(self, call: Call, gradient: Any) -> Sequence[Tensor | None]:
        rule = self._choose(call.node)
        return call.vjp(gradient) if rule is None else rule(call, gradient)


def _weights(target: Any, names: Sequence[str]) -> dict[int, Tensor]:
    """Return a native layer's constants by their place among the node's inputs; none of layers that torch alone has."""
    held: dict[int, Tensor] = {}
    for place, (name, attribute) in enumerate(zip(names, LAYER_WEIGHTS, strict=False), 1):
        weight = getattr(target, attribute, None)
        if name and not isinstance(weight, Tensor):
            return {}
        if name:
            held[place] = weight  # type: ignore[assignment]
    return held


class _Ruled(torch.autograd.Function):
    """A node's call whose way back is a rule."""

    @staticmethod
    def forward(ctx: Any, call: Call, rule: Rule, *inputs: Tensor) -> Any:  # noqa: ARG004
        ctx.call, ctx.rule = call, rule
        ctx.several = isinstance(call.run(), tuple)
        return call.output

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        call, ctx.call = ctx.call, None  # a way is gone once, and what it holds let go of on the way
        back = ctx.rule(call, gradients if ctx.several else gradients[0])
        return None, None, *back


class _Weighed(torch.autograd.Function):
    """A value as it is, whose gradient on the way back is multiplied by it."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0] * ctx.saved_tensors[0]


def weighed(value: Any) -> Any:
    """Return the value such that what goes back from it is its share of the score, not the score's slope."""
    is_real = isinstance(value, Tensor) and value.requires_grad
    return _Weighed.apply(value) if is_real else value  # type: ignore[no-untyped-call]


def record(module: fx.GraphModule, choose: ChooseRule, arguments: Sequence[Any]) -> dict[Place, Call]:
    """Run a graph without gradients and return the calls of the nodes that have a rule."""
    return recorded(module, choose, arguments)[0]


def recorded(
    module: fx.GraphModule, choose: ChooseRule, arguments: Sequence[Any]
) -> tuple[dict[Place, Call], Sequence[Any]]:
    """Return these calls, and the answers."""
    run = RuledRun(module, choose, record=True)
    with torch.no_grad():
        answers = run.run(*arguments)
    return run.journal.calls, answers
