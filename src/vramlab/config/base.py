"""What all sections of the configuration share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
"""What all generators of random numbers take."""


class Section(BaseModel):
    """A part of the configuration: read-only, and a key that it does not know is an error."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    @model_validator(mode="before")
    @classmethod
    def _no_truth_as_number(cls, values: Any) -> Any:
        """Refuse true and false where a number is meant, which Python takes for 1 and 0."""
        wrong = list(_truths(cls, values)) if isinstance(values, dict) else []
        if wrong:
            raise ValidationError.from_exception_data(cls.__name__, wrong)
        return values


def _truths(section: type[BaseModel], values: dict[str, Any]) -> Iterator[InitErrorDetails]:
    """Each truth in a key of a section, or in its list, that may hold numbers but no truths."""
    for key, field in section.model_fields.items():
        value = values.get(key)
        places: list[tuple[tuple[str | int, ...], Any]] = [((key,), value)]
        if isinstance(value, list | tuple):
            places = [((key, index), item) for index, item in enumerate(value)]
        for place, item in places:
            kinds = set(_scalars(field.annotation)) if isinstance(item, bool) else set()
            if kinds and bool not in kinds:
                what = "int_type" if int in kinds else "float_type"
                yield InitErrorDetails(type=what, loc=place, input=item)


def _scalars(annotation: Any) -> Iterator[type]:
    """The numbers and truths that an annotation allows, by themselves or in a list."""
    if annotation in (bool, int, float):
        yield annotation
    if get_origin(annotation) is not dict:
        for part in get_args(annotation):
            yield from _scalars(part)
