"""Forms made from the engine's settings, so that docks and command line never differ."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, TypeVar, Union, get_args, get_origin

from magicgui.widgets import CheckBox, ComboBox, Container, FloatSpinBox, LineEdit, SpinBox
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from napari_gemini.errors import InputError

Model = TypeVar("Model", bound=BaseModel)

_LARGEST = 1_000_000


class SettingsForm(Generic[Model]):
    """A form of some fields of a settings model.

    Parameters
    ----------
    model
        The values to start from; fields that are not in the form keep theirs.
    fields
        Names; dots lead into models within (``weights.gvs``).
    on_change
        Called after the user changed something.

    Attributes
    ----------
    widget
        magicgui container; ``widget.native`` goes into a layout.
    """

    def __init__(
        self, model: Model, fields: Sequence[str], on_change: Callable[[], None] | None = None
    ) -> None:
        self._model = model
        self._inputs: dict[str, Any] = {name: _input(model, name) for name in fields}
        self.widget = Container(widgets=list(self._inputs.values()), labels=True)
        self.widget.margins = (0, 0, 0, 0)
        if on_change is not None:
            self.widget.changed.connect(lambda *_: on_change())

    @property
    def value(self) -> Model:
        """The settings as the form says them, a fresh object.

        Raises
        ------
        InputError
            If the values do not go together; the sentence names the first that is wrong.
        """
        data = self._model.model_dump()
        for name, entry in self._inputs.items():
            *path, last = name.split(".")
            place = data
            for part in path:
                place = place[part]
            place[last] = _read(entry)
        try:
            return type(self._model).model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(f"The setting {where!r} cannot be used: {first['msg']}.") from error

    @value.setter
    def value(self, model: Model) -> None:
        self._model = model
        for name, entry in self._inputs.items():
            value = _get(model, name)
            entry.value = "" if value is None else str(value) if _is_text(entry) else value


def settings_form(
    model: Model, fields: Sequence[str], on_change: Callable[[], None] | None = None
) -> SettingsForm[Model]:
    """Make a form; see :class:`SettingsForm`."""
    return SettingsForm(model, fields, on_change)


def _get(model: BaseModel, name: str) -> Any:
    value: Any = model
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _field(model: BaseModel, name: str) -> FieldInfo:
    *path, last = name.split(".")
    owner = _get(model, ".".join(path)) if path else model
    return type(owner).model_fields[last]


def _input(model: BaseModel, name: str) -> Any:
    """Make the input that suits a field's type and bounds."""
    info, value = _field(model, name), _get(model, name)
    kind, optional = _bare(info.annotation)
    options: dict[str, Any] = {
        "name": name.replace(".", "_"),
        "label": name.rsplit(".", 1)[-1].replace("_", " "),
        "tooltip": info.description or "",
    }
    if optional:
        # An empty line is "none"; anything else is checked with the rest.
        return LineEdit(value="" if value is None else str(value), **options)
    if get_origin(kind) is Literal:
        return ComboBox(choices=list(get_args(kind)), value=value, **options)
    if kind is bool:
        return CheckBox(value=value, text=options.pop("label"), **options)
    low, high = _bounds(info)
    if kind is int:
        step = _bound(info, "multiple_of") or 1
        return SpinBox(value=value, min=int(low), max=int(high), step=int(step), **options)
    if kind is float:
        return FloatSpinBox(value=value, min=low, max=high, step=_step(value), **options)
    return LineEdit(value=str(value), **options)


def _bare(annotation: Any) -> tuple[Any, bool]:
    """Return a type without ``None``, and whether None was allowed."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        return rest[0], len(rest) < len(get_args(annotation))
    return annotation, False


def _bound(info: FieldInfo, name: str) -> float | None:
    for item in info.metadata:
        value = getattr(item, name, None)
        if value is not None:
            return float(value)
    return None


def _bounds(info: FieldInfo) -> tuple[float, float]:
    # The form admits the edge of an open range; the model refuses it with a sentence.
    low = [b for b in (_bound(info, "ge"), _bound(info, "gt")) if b is not None]
    high = [b for b in (_bound(info, "le"), _bound(info, "lt")) if b is not None]
    return (low[0] if low else -_LARGEST), (high[0] if high else _LARGEST)


def _step(value: float) -> float:
    return 0.0001 if 0 < abs(value) < 0.01 else 0.01 if abs(value) < 10 else 1.0


def _is_text(entry: Any) -> bool:
    return isinstance(entry, LineEdit)


def _read(entry: Any) -> Any:
    if _is_text(entry):
        return entry.value.strip() or None
    return entry.value
