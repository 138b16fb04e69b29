"""The JSON schema of recipes, generated from the models that check them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from srdeploy.line.axes import BASE, LISTS
from srdeploy.line.fitted import Fit
from srdeploy.line.recipe import DeviceSpec, Line, OneShot, Source, TargetSpec, Trained
from srdeploy.measure.scenario import Scenario
from srdeploy.train.recipe import TrainRecipe

_MODELS: dict[str, tuple[type[BaseModel], ...]] = {
    "model": (Source,),
    "prune": (OneShot, Trained),
    "fit": (Fit,),
    "train": (TrainRecipe,),
    "targets": (TargetSpec,),
    "devices": (DeviceSpec,),
    "scenarios": (Scenario,),
}


def line_schema() -> dict[str, Any]:
    """The schema (JSON Schema 2020-12) of what a recipe's file may hold.

    Every axis may be a name, or settings over a ``base``; so nothing in them is obligatory.
    """
    models: list[type[BaseModel]] = [one for several in _MODELS.values() for one in several]
    everything: list[type[BaseModel]] = [Line, *models]
    asked: list[tuple[type[BaseModel], Literal["validation"]]] = [
        (model, "validation") for model in everything
    ]
    _, found = models_json_schema(asked, ref_template="#/$defs/{model}")
    definitions: dict[str, Any] = _relaxed(found["$defs"])
    line = definitions.pop("Line")
    for model in models:
        definitions[model.__name__]["properties"][BASE] = {
            "type": "string",
            "description": "A name or file that holds what is not said here.",
        }
    for key, several in _MODELS.items():
        line["properties"][key] = _axis(key, [model.__name__ for model in several])
    line["properties"][BASE] = {"type": "string", "description": "A recipe beside this one."}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "srdeploy recipe",
        **{key: line[key] for key in ("description", "type", "properties", "additionalProperties")},
        "$defs": definitions,
    }


def _axis(key: str, models: list[str]) -> dict[str, Any]:
    one = [{"type": "string"}, *({"$ref": f"#/$defs/{model}"} for model in models)]
    if key not in LISTS:
        return {"anyOf": [*one, {"type": "null"}]}
    return {"anyOf": [*one, {"type": "array", "items": {"anyOf": one}}]}


def _relaxed(value: Any) -> Any:
    """Nothing obligatory, and alternatives that may overlap once that is so.

    Sizes and folders are written as people write them, which the models turn into numbers.
    """
    if isinstance(value, list):
        return [_relaxed(item) for item in value]
    if not isinstance(value, dict):
        return value
    result = {}
    for key, item in value.items():
        if key == "discriminator" or (key == "required" and isinstance(item, list)):
            continue
        result["anyOf" if key == "oneOf" else key] = _relaxed(item)
    if result.get("title") == "Folder":
        return {"anyOf": [{"type": "string"}, result]}
    if result.get("title") == "Inputs":
        result = {"title": "Inputs", "anyOf": [{"type": "string"}, {"type": "array"}]}
    return result
