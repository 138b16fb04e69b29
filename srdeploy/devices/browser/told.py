"""What a page says, before anything believes it: types, sizes and numbers as they can be."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, ValidationError

from srdeploy.devices.answers import Implausible


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("holds characters that cannot be shown")
    return text


Words = Annotated[str, Field(max_length=400), AfterValidator(_printable)]
_Number = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class _Hints(BaseModel):
    model: Words | None = None
    platform: Words | None = None
    platformVersion: Words | None = None  # the browser's own spelling
    architecture: Words | None = None
    bitness: Words | None = None


class _Gpu(BaseModel):
    name: Words | None = None
    software: bool | None = None
    f16: bool | None = None


class _Facts(BaseModel):
    user_agent: Annotated[str, Field(max_length=2000), AfterValidator(_printable)] | None = None
    hints: _Hints | None = None
    cores: Annotated[int, Field(ge=1, le=4096)] | None = None
    memory_gib: _Number | None = None
    gpu: _Gpu | None = None
    webgpu: bool | None = None
    secure: bool | None = None
    isolated: bool | None = None
    clock_ms: _Number | None = None
    screen: Annotated[list[_Number], Field(max_length=3)] | None = None
    touch: Annotated[int, Field(ge=0, le=1000)] | None = None


class _State(BaseModel):
    hidden: bool | None = None
    battery: Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)] | None = None
    charging: bool | None = None


class _Hello(BaseModel):
    facts: _Facts
    wanted: Annotated[str, Field(max_length=40), AfterValidator(_printable)] | None = None


def hello_of(document: Any) -> tuple[dict[str, Any], str]:
    """Facts of a browser and the name that its page asks for, of the page's greeting.

    Raises:
        Implausible: they cannot be.
    """
    found = _read(_Hello, document)
    return found.facts.model_dump(exclude_unset=True), found.wanted or ""


def state_of(document: Any) -> dict[str, Any]:
    """What comes with a pulse; only what the page told.

    Raises:
        Implausible: it cannot be.
    """
    return _read(_State, document).model_dump(exclude_unset=True, exclude_none=True)


def _read(model: Any, document: Any) -> Any:
    try:
        return model.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "all of it"
        raise Implausible(
            f"A page tells what cannot be ({where}: {first['msg']}); it is not let in."
        ) from None
