"""A recipe of the whole line: one value of each axis, strict and typed.

The file is short because it names its values; reading it looks them up, lays what the recipe and
``--set`` change over them and checks every key.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PositiveInt, create_model, model_validator

from srdeploy.errors import UserError, unknown_name
from srdeploy.exporting.options import all_options, recipe_fields
from srdeploy.exporting.targets import TARGETS, find_target
from srdeploy.line.axes import FOLDERS, LISTS, resolved, spelt_out
from srdeploy.line.fitted import Fit, check_fit
from srdeploy.measure.scenario import Scenario
from srdeploy.models.card import Card
from srdeploy.pruning.methods.table import DEFAULT, SCORED, check_settings, find_method, names
from srdeploy.pruning.methods.training import TrainedOptions
from srdeploy.pruning.options import PruneOptions
from srdeploy.train.defaults import finetune_defaults
from srdeploy.train.method import PruneRecipe
from srdeploy.train.prune_defaults import short_recipe, with_method
from srdeploy.train.recipe import TrainRecipe
from srdeploy.util.strict import (
    Name,
    Strict,
    check_name,
    merged,
    named,
    parse,
    read_change,
    read_mapping,
)

Version = Literal["dense", "pruned", "tuned"]


def with_export_options(model: type[Strict]) -> type[Strict]:
    """A class decorator: what all exporters can be asked for become fields, to be left out."""
    found: type[Strict] = create_model(
        model.__name__, __base__=model, __module__=model.__module__, **recipe_fields()
    )
    found.__doc__ = model.__doc__
    return found


class Source(Strict):
    """The network to begin with.

    Attributes:
        file: A network of ours, a foreign checkpoint, either of them on the Hugging Face hub
            (``hf:org/repo/file``), or the name of a shipped one; ``~`` and ``$VARIABLES`` are
            expanded.
        arch: Of a foreign file, or ``package.module:callable``.
        scale: Of a network that serves several.
        res_scale: Residual scaling, which foreign weights do not show.
    """

    file: str
    arch: str | None = None
    scale: PositiveInt | None = None
    res_scale: float | None = None


def _at_once(name: str) -> str:
    known = names("scored", "reconstructed")
    if name not in known:
        raise ValueError(f"it is one of {', '.join(known)}, which prune without training")
    return name


def _methods_listed(schema: dict[str, Any]) -> None:
    schema["enum"] = list(names("scored", "reconstructed"))


def _targets_listed(schema: dict[str, Any]) -> None:
    schema["examples"] = list(TARGETS)


def _devices_listed(schema: dict[str, Any]) -> None:
    from srdeploy.devices.table import KINDS

    schema["examples"] = [kind.example for kind in KINDS.values()]


AtOnce = Annotated[str, AfterValidator(_at_once), Field(json_schema_extra=_methods_listed)]
"""A method that prunes without training, by its name."""


class OneShot(PruneOptions):
    """Pruning at once, without training.

    Attributes:
        method: ``obs``, ``reconstruct``: by what the network computes on calibration images;
            ``l1``: by the norm of filters, the default where a criterion is named.
        refit: Fit what ``l1`` leaves to the dense network by least squares; the others always do.
        calibration: Images for that: a folder, or ``builtin``.
        network_wise: Steps of Adam after that towards the dense network's output, on the same
            images; default: 500 after ``obs`` and ``reconstruct`` (fewer for a large network), else
            none.
        default_exclude: Leave alone what the published runs of the architecture leave alone.
    """

    method: AtOnce = DEFAULT
    ratio: float = 0.5
    refit: bool = False
    calibration: str | None = None
    network_wise: Annotated[int, Field(ge=0)] | None = None
    default_exclude: bool = True

    @model_validator(mode="before")
    @classmethod
    def _criterion_names_the_method(cls, values: Any) -> Any:
        if isinstance(values, dict) and "criterion" in values:
            return {"method": SCORED, **values}
        return values

    @model_validator(mode="after")
    def _settings_fit_the_method(self) -> OneShot:
        check_settings(
            find_method(self.method),
            scores=self.criterion != "l1",
            calibrates=self.calibration is not None,
            refits=self.refit,
            learns=self.network_wise is not None,
        )
        return self


class Trained(TrainedOptions):
    """Pruning by a method that trains the channels away; its recovery is the next stage.

    Attributes:
        method: The method.
        name: What people call it; default: the name of the recipe it is from.
        training: Settings of both trainings; without them a minute's schedule on shipped images.
        regularise: What differs while the channels are driven away.
        finetune: What differs in the recovery; the recipe's ``train`` replaces it.
        refit: Fit what is left to the dense network by least squares, before the recovery.
        calibration: Images for that; default: shipped images.
        default_exclude: Leave alone what the published runs of the architecture leave alone.
    """

    method: Literal["srp", "assl", "gassl", "guided", "fade"]  # type: ignore[assignment]
    name: Name | None = None
    training: dict[str, Any] = {}
    regularise: dict[str, Any] = {}
    finetune: dict[str, Any] = {}
    refit: bool = False
    calibration: str | None = None
    default_exclude: bool = True

    def recipe(self, exclude: Sequence[str]) -> PruneRecipe:
        """What the method runs on.

        Args:
            exclude: What the published runs leave alone.

        Raises:
            UserError: a setting that does not fit.
        """
        asked = self.model_dump(mode="json", exclude_unset=True)
        sections: dict[str, Any] = {
            name: asked.pop(name)
            for name in ("training", "regularise", "finetune", "refit", "calibration")
            if name in asked
        }
        method, left = asked.pop("method"), asked.pop("default_exclude", True)
        asked.pop("name", None)
        if left:
            asked["exclude"] = list(dict.fromkeys((*exclude, *asked.get("exclude", ()))))
        own = {"prune": asked, **sections}
        if self.training:
            named_only: dict[str, Any] = {"prune": {}, "training": {}}
            values = merged(with_method(named_only, method), own)
        else:
            values = merged(short_recipe(method), own)
        return parse(PruneRecipe, values, where="prune")


@with_export_options
class TargetSpec(Strict):
    """One thing the networks are turned into; the options are those of `srdeploy export`.

    Attributes:
        name: Of its folder; what follows the target's name is added to the files' names.
        target: A name of `srdeploy targets`.
        versions: The networks to export; default: the recipe's.
    """

    name: Name
    target: Annotated[str, Field(json_schema_extra=_targets_listed)]
    versions: tuple[Version, ...] | None = None

    def options(self) -> dict[str, Any]:
        """Keywords for :func:`srdeploy.exporting.run.export`.

        Raises:
            UserError: no such target, or an option it does not have.
        """
        given = self.model_dump(exclude={"name", "target", "versions"}, exclude_none=True)
        keywords = {option.recipe_key: keyword for keyword, option in all_options().items()}
        options = {keywords[key]: value for key, value in given.items()}
        find_target(self.target).check_options(options)
        return options

    @property
    def ending(self) -> str:
        """What tells its files from those of other targets: ``-int8`` of ``onnx-int8``."""
        rest = self.name.removeprefix(self.target)
        return f"-{rest.strip('-')}" if rest.strip("-") else ""


class DeviceSpec(Strict):
    """Where to measure.

    Attributes:
        name: For people; the URI may be its own.
        uri: What `srdeploy bench --device` takes; ``$VARIABLES`` are expanded.
        runtime: What must run the artifacts there.
        threads: CPU threads there.
        targets: Names of the targets to measure there; default: all on this machine, elsewhere
            those that are ONNX files, which every device reads.
    """

    name: str
    uri: Annotated[str, Field(json_schema_extra=_devices_listed)]
    runtime: str | None = None
    threads: PositiveInt | None = None
    targets: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _is_named(self) -> DeviceSpec:
        if self.name != self.uri:
            check_name(self.name)
        return self


class Line(Strict):
    """The whole line, every axis resolved.

    Attributes:
        name: Of the run's folder.
        description: For people.
        model: Where it begins.
        prune: How channels go; None leaves the network whole.
        fit: In its place: the device and the budget that decide what goes.
        train: Settings of the fine-tuning (of :class:`TrainRecipe`) over what fits the network;
            None: a pruning method's own recovery, else no fine-tuning.
        targets: What to export; none: the networks themselves are measured.
        versions: The networks that are exported and measured; default: ``dense`` and the last.
        devices: Where to measure; default: here.
        scenarios: What to measure; an empty list leaves measuring out.
        data: Benchmark set of the measurements.
        repeats: How often each is measured, all from a fresh start.
    """

    name: Name
    description: str = ""
    model: Source
    prune: OneShot | Trained | None = None
    fit: Fit | None = None
    train: dict[str, Any] | None = None
    targets: tuple[TargetSpec, ...] = ()
    versions: tuple[Version, ...] | None = None
    devices: tuple[DeviceSpec, ...] = (DeviceSpec(name="local", uri="local"),)
    scenarios: tuple[Scenario, ...] = (Scenario(),)
    data: str = "builtin"
    repeats: PositiveInt = 1

    def made(self) -> tuple[Version, ...]:
        """The networks that come to be, in their order."""
        recovers = isinstance(self.prune, Trained) and self.prune.finetune.get("iterations") != 0
        found: list[Version] = ["dense"]
        found += ["pruned"] if self.prune is not None or self.fit is not None else []
        found += ["tuned"] if self.train is not None or recovers else []
        return tuple(found)

    def wanted(self, target: TargetSpec | None = None) -> tuple[Version, ...]:
        """The networks to export for a target, or to measure."""
        asked = (target.versions if target else None) or self.versions
        return asked or tuple(dict.fromkeys((self.made()[0], self.made()[-1])))


def read_line(path: str | Path, changes: Sequence[str] = ()) -> Line:
    """Read a recipe from YAML.

    Args:
        path: The file; names in it are looked up beside it, then in the package.
        changes: Settings to replace, each as ``key.subkey=value`` with the value in YAML.

    Raises:
        UserError: no such file, an unknown key or name (the nearest match is told), or a value out
            of its range.
    """
    path = Path(path)
    where = named(path, changes)
    values = {"name": path.stem, **spelt_out(read_mapping(path))}
    for change in changes:
        values = spelt_out(merged(values, read_change(change)))
    for key in FOLDERS:
        given = values.get(key)
        if given is None:
            continue
        if key in LISTS:
            values[key] = [_parsed(key, resolved(key, one, path.parent), where) for one in given]
        else:
            values[key] = _parsed(key, resolved(key, given, path.parent), where)
    line = parse(Line, values, where)
    _check(line, where)
    return line


def _parsed(key: str, value: dict[str, Any], where: str) -> Any:
    where = f"{where}, {key}"
    if key == "model":
        return parse(Source, value, where)
    if key == "prune":
        return _parsed_prune(value, where)
    if key == "fit":
        check_fit(found := parse(Fit, value, where), where)
        return found
    if key == "train":
        # Checked against any network's defaults here, and against the network's own when planned.
        values = {k: v for k, v in value.items() if k != "network"}
        parse(TrainRecipe, merged(finetune_defaults(_ANY), values), where)
        return values
    if key == "targets":
        return parse(TargetSpec, _with_name(value, "target"), where)
    if key == "devices":
        return parse(DeviceSpec, _with_name(value, "uri"), where)
    return parse(Scenario, value, where)


_ANY = Card(arch="any", scale=2, scales=(2,), channels=3, value_range=1.0)


def _with_name(value: dict[str, Any], key: str) -> dict[str, Any]:
    return {"name": value[key], **value} if isinstance(value.get(key), str) else value


def _parsed_prune(value: dict[str, Any], where: str) -> OneShot | Trained:
    if not find_method(str(value.get("method", DEFAULT))).trains:
        return parse(OneShot, value, where)
    trained = parse(Trained, value, where)
    if trained.weight_group == "weight":
        raise UserError(
            f"{where}: weight_group 'weight' removes no channels, so there is nothing to export "
            "smaller; use `srdeploy prune` for it, or another weight_group here."
        )
    trained.recipe(()).regularise_recipe(_ANY)
    trained.recipe(()).finetune_recipe(_ANY)
    return trained


def _check(line: Line, where: str) -> None:
    """What one axis must know of another."""
    if line.prune is not None and line.fit is not None:
        raise UserError(
            f"{where}: prune removes channels by a ratio and fit by a budget; leave one out."
        )
    for target in line.targets:
        target.options()
        _check_versions(line, line.wanted(target), where)
    _check_versions(line, line.wanted(), where)
    for scenario in line.scenarios:
        try:
            check_name(scenario.name)
        except ValueError as error:
            raise UserError(f"{where}: scenarios: {error}.") from None
    names = [target.name for target in line.targets]
    folders = [name.casefold() for name in names]  # some disks do not tell case apart
    if twice := [name for name in names if folders.count(name.casefold()) > 1]:
        raise UserError(
            f"{where}: two targets are called '{twice[-1]}'; give one of them another `name`."
        )
    for device in line.devices:
        for name in device.targets or ():
            if name not in names:
                raise unknown_name(f"target of device '{device.name}'", name, names)


def _check_versions(line: Line, asked: tuple[Version, ...], where: str) -> None:
    for version in asked:
        if version not in line.made():
            raise UserError(
                f"{where}: there is no '{version}' network in this line; it makes "
                f"{', '.join(line.made())}."
            )
