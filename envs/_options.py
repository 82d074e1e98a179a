"""A task's options in words, as on the command line: `torque=gym`."""

import difflib
import functools
import math
import numbers
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any, get_args, get_origin, Literal, Union

import msgspec
import numpy as np

from .._errors import UserError


def options_of(builder: Callable[..., Any]) -> Mapping[str, Parameter]:
    """What a task's constructor takes by name, except physics, with annotations resolved. If a
    class takes `**options`, these are the options of the class that it extends."""
    kinds = Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY
    return {n: p for n, p in _parameters(builder).items() if p.kind in kinds and n != "physics"}


def takes_any(builder: Callable[..., Any]) -> bool:
    """Whether it takes further options under names that it does not list."""
    return any(p.kind is Parameter.VAR_KEYWORD for p in _parameters(builder).values())


def _parameters(builder: Callable[..., Any]) -> dict[str, Parameter]:
    found = _signature(builder)
    kind = builder.func if isinstance(builder, functools.partial) else builder
    bases = kind.__mro__[1:] if isinstance(kind, type) else ()
    for base in bases:
        rest = [n for n, p in found.items() if p.kind is Parameter.VAR_KEYWORD]
        if not rest:
            break
        inherited = _signature(base.__init__) if "__init__" in vars(base) else {}
        if Parameter.KEYWORD_ONLY in {p.kind for p in inherited.values()}:
            del found[rest[0]]
            kinds = Parameter.KEYWORD_ONLY, Parameter.VAR_KEYWORD
            found |= {n: p for n, p in inherited.items() if p.kind in kinds and n not in found}
    return found


def _signature(function: Callable[..., Any]) -> dict[str, Parameter]:
    try:
        return dict(signature(function, eval_str=True).parameters)
    except NameError:  # annotations that only type checkers can resolve
        return {
            n: p.replace(annotation=Parameter.empty)
            for n, p in signature(function).parameters.items()
        }


def require_known(builder: Callable[..., Any], option: str, call: str) -> None:
    """**Raises:** `UserError`, which begins with `call`, if there is no such option."""
    known = options_of(builder)
    if option in known or takes_any(builder):
        return
    near = difflib.get_close_matches(option, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UserError(f"{call}: no such option. This task knows {', '.join(known) or 'none'}.{hint}")


def misfit(builder: Callable[..., Any], option: str, value: Any) -> str | None:
    """What the value of an option must be, if it is of another kind than its annotation says."""
    parameter = options_of(builder).get(option)
    if parameter is None or _fits(value, parameter.annotation):
        return None
    return annotation_in_words(parameter.annotation)


def _fits(value: Any, annotation: Any) -> bool:
    """True, too, of annotations that are none of a command line."""
    parts, origin = get_args(annotation), get_origin(annotation)
    if origin is Literal:
        return value in parts
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if annotation is type(None):
        return value is None
    if annotation is bool or annotation is str:
        return isinstance(value, (bool, np.bool_) if annotation is bool else str)
    if annotation is int or annotation is float:
        kinds = numbers.Integral if annotation is int else numbers.Real
        number = isinstance(value, kinds) and not isinstance(value, bool | np.bool_)
        return number and math.isfinite(value)
    if origin not in (tuple, list, Sequence):
        return True
    if isinstance(value, str) or not isinstance(value, Iterable):
        return False
    values = [*value] if isinstance(value, Sequence | np.ndarray) else []
    if origin is tuple and Ellipsis not in parts:
        return len(values) == len(parts) and all(map(_fits, values, parts))
    return all(_fits(each, parts[0]) for each in values)


def read_options(
    builder: Callable[..., Any], words: Sequence[str], flag: str, name: str
) -> dict[str, Any]:
    """The options of task `name` that are written as `KEY=VALUE`, converted to what the
    constructor's annotations say; values are JSON, or else text.

    **Raises:** `UserError` that names `flag`.
    """
    options: dict[str, Any] = {}
    for word in words:
        call = f"`{flag} {word}`"
        option, equals, text = word.partition("=")
        if not equals or not option:
            raise UserError(f"{call} must be an option's name and its value, as in torque=gym.")
        if option == "physics":
            raise UserError(f"{call}: say `--physics {text}`.")
        require_known(builder, option, f"{call} with `--env {name}`")
        if option in options:
            raise UserError(f"{call}: `{option}` is given twice.")
        parameter = options_of(builder).get(option)
        annotation = Any if parameter is None else parameter.annotation
        options[option] = _converted(text, annotation, call)
    return options


def _converted(text: str, annotation: Any, call: str) -> Any:
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        value = text
    if annotation is Parameter.empty:
        return value
    for strict, given in ((True, value), (False, text)):
        try:
            return msgspec.convert(given, annotation, strict=strict)
        except msgspec.ValidationError:
            continue
        except TypeError:  # an annotation that msgspec does not know: the constructor must decide
            return value
    raise UserError(f"{call} must be {annotation_in_words(annotation)}.")


_NAMES = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "text",
    type(None): "null",
}


def annotation_in_words(annotation: Any) -> str:
    """What an annotation allows, for a sentence."""
    parts, origin = get_args(annotation), get_origin(annotation)
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin in (Union, types.UnionType):
        return " or ".join(map(annotation_in_words, parts))
    if origin is tuple and Ellipsis not in parts:
        return f"[{', '.join(map(annotation_in_words, parts))}]"
    if origin in (tuple, list, Sequence):
        return f"a list of {annotation_in_words(parts[0])}"
    if annotation is Parameter.empty or annotation is Any:
        return "JSON, or text"
    for kind, name in _NAMES.items():
        if annotation is kind:
            return name
    return "a value that only Python can give"
