"""``slicer.parameterNodeWrapper``: typed fields over the real vtkMRMLScriptedModuleNode.

As strict as Slicer's where the panel could go wrong: an unknown field, a value of another type or
outside its range, and a widget whose field has no connector are errors.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import slicer
from PySide6.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QLineEdit, QSpinBox

from tests.slicer_module.standin.mrml_widgets import (
    qMRMLCheckableNodeComboBox,
    qMRMLNodeComboBox,
)
from tests.slicer_module.standin.properties import use_properties

use_properties(__name__)


@dataclass(frozen=True)
class WithinRange:
    minimum: float
    maximum: float


class Choice:
    def __init__(self, choices: list[Any]) -> None:
        self.choices = list(choices)


class Field:
    """One typed field."""

    def __init__(self, name: str, hint: Any, default: Any) -> None:
        self.name = name
        self.notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
        self.type = get_args(hint)[0] if get_origin(hint) is Annotated else hint
        self.item = get_args(self.type)[0] if get_origin(self.type) is list else None
        self.default = default

    @property
    def is_node(self) -> bool:
        return isinstance(self.type, type) and issubclass(self.type, slicer.vtkMRMLNode)

    def note(self, kind: type) -> Any:
        return next((note for note in self.notes if isinstance(note, kind)), None)

    def read(self, node: Any) -> Any:
        if self.item is not None:
            count = node.GetNumberOfNodeReferences(self.name)
            return [node.GetNthNodeReference(self.name, index) for index in range(count)]
        if self.is_node:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if text == "" and self.type is not str:
            return self.default
        return text == "True" if self.type is bool else self.type(text)

    def write(self, node: Any, value: Any) -> None:
        self.check(value)
        if self.item is not None:
            node.RemoveNodeReferenceIDs(self.name)
            for entry in value:
                node.AddNodeReferenceID(self.name, entry.GetID())
        elif self.is_node:
            node.SetNodeReferenceID(self.name, None if value is None else value.GetID())
        else:
            node.SetParameter(self.name, str(self.type(value)))

    def check(self, value: Any) -> None:
        if self.item is not None:
            wrong = not all(isinstance(entry, self.item) for entry in value)
        elif self.is_node:
            wrong = value is not None and not isinstance(value, self.type)
        else:
            allowed = (int, float) if self.type is float else self.type
            wrong = not isinstance(value, allowed)
        bounds, choice = self.note(WithinRange), self.note(Choice)
        if wrong:
            raise TypeError(f"{self.name}: {value!r} is no {self.type}")
        if bounds and not bounds.minimum <= value <= bounds.maximum:
            raise ValueError(f"{self.name}: {value!r} is outside its range")
        if choice and value not in choice.choices:
            raise ValueError(f"{self.name}: {value!r} is no choice")


class Connection:
    """A widget and a field that follow each other."""

    def __init__(self, wrapper: Any, field: Field, widget: Any) -> None:
        self.wrapper, self.field, self.widget = wrapper, field, widget
        self.signal, self.get, self.set = connector(field, widget)
        self.to_widget()
        self.signal.connect(self.to_field)

    def to_field(self, *_: object) -> None:
        setattr(self.wrapper, self.field.name, self.get())

    def to_widget(self) -> None:
        value = getattr(self.wrapper, self.field.name)
        if self.get() != value:
            self.set(value)

    def end(self) -> None:
        self.signal.disconnect(self.to_field)


def connector(field: Field, widget: Any) -> tuple[Any, Any, Any]:
    """Return signal, getter and setter, as strict about types as Slicer's connectors."""
    kind = type(widget)
    if kind is QCheckBox and field.type is bool:
        return widget.toggled, *_property(widget, "checked")
    if kind is QLineEdit and field.type is str:
        return widget.textChanged, *_property(widget, "text")
    numbers = (kind is QSpinBox and field.type is int) or (
        kind is QDoubleSpinBox and field.type is float
    )
    if numbers:
        bounds = field.note(WithinRange)
        widget.setRange(bounds.minimum, bounds.maximum)
        return widget.valueChanged, *_property(widget, "value")
    if kind is QComboBox and field.note(Choice):
        widget.clear()
        widget.addItems([str(choice) for choice in field.note(Choice).choices])
        return widget.currentTextChanged, *_property(widget, "currentText")
    if isinstance(widget, qMRMLCheckableNodeComboBox):
        raise RuntimeError(f"{field.name}: no connector binds a list of nodes")
    if isinstance(widget, qMRMLNodeComboBox) and field.is_node:
        return widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode
    raise RuntimeError(f"{field.name}: no connector for {kind.__name__}")


def _property(widget: Any, name: str) -> tuple[Any, Any]:
    return lambda: getattr(widget, name), lambda value: setattr(widget, name, value)


def parameterNodeWrapper(cls: type) -> type:
    """Make a class with typed annotations a wrapper of parameter nodes."""
    hints = get_type_hints(cls, include_extras=True)
    fields = {name: Field(name, hint, getattr(cls, name, None)) for name, hint in hints.items()}

    class Wrapper:
        def __init__(self, parameterNode: Any) -> None:
            self.__dict__.update(parameterNode=parameterNode, _connections={}, _tag=None)
            for field in fields.values():
                unset = field.name not in parameterNode.GetParameterNamesAsCommaSeparatedList()
                if field.default is not None and unset:
                    field.write(parameterNode, field.default)

        def __getattr__(self, name: str) -> Any:
            if name not in fields:
                raise AttributeError(name)
            return fields[name].read(self.parameterNode)

        def __setattr__(self, name: str, value: Any) -> None:
            if name not in fields:
                raise AttributeError(f"{cls.__name__} has no field {name}")
            if fields[name].read(self.parameterNode) != value:
                fields[name].write(self.parameterNode, value)
                self.parameterNode.Modified()

        def AddObserver(self, event: Any, callback: Any, priority: float = 0.0) -> int:
            return self.parameterNode.AddObserver(event, callback, priority)

        def RemoveObserver(self, tag: int) -> None:
            self.parameterNode.RemoveObserver(tag)

        def HasObserver(self, event: Any, callback: Any = None) -> bool:
            return bool(self.parameterNode.HasObserver(event, callback))

        def connectGui(self, gui: Any) -> int:
            found = []
            for widget in vars(gui).values():
                name = widget.property("SlicerParameterName")
                if name:
                    found.append(Connection(self, fields[name], widget))
            tag = self.parameterNode.AddObserver(
                "ModifiedEvent", lambda *_: [each.to_widget() for each in found]
            )
            self._connections[tag] = found
            return tag

        def disconnectGui(self, tag: int) -> None:
            self.parameterNode.RemoveObserver(tag)
            for connection in self._connections.pop(tag):
                connection.end()

    Wrapper.__name__ = Wrapper.__qualname__ = cls.__name__
    return Wrapper


def make_wrapper_module() -> types.ModuleType:
    """Return the module."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    for value in (parameterNodeWrapper, WithinRange, Choice):
        setattr(module, value.__name__, value)
    return module
