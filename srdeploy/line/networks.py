"""The stages that make networks: 10_model, 20_pruned, 40_tuned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from srdeploy.data.builtin import BUILTIN
from srdeploy.errors import UserError
from srdeploy.line.code import own_arch, require_arch
from srdeploy.line.digest import benchmark_folder, training_folder
from srdeploy.line.fitted import fit_stage
from srdeploy.line.recipe import Line, OneShot, Trained, Version
from srdeploy.line.stage import Stage
from srdeploy.models.card_file import find_file
from srdeploy.models.hub_file import hub_file
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.store import save_network
from srdeploy.pruning.methods.oneshot import default_exclude
from srdeploy.pruning.methods.table import find_method, steps_of
from srdeploy.pruning.options import PruneOptions
from srdeploy.reporting.run_folder import NETWORKS, PLAN, file_name
from srdeploy.train.defaults import finetune_defaults
from srdeploy.train.recipe import HELD_OUT, TrainRecipe, Validation
from srdeploy.util.files import atomic_path
from srdeploy.util.shipped import shipped_networks
from srdeploy.util.strict import expand, merged, parse

RUN = "run"
"""Checkpoints and curves of a stage that trains, in its folder."""


@dataclass(frozen=True)
class Networks:
    """The networks of a run.

    Attributes:
        line: The recipe.
        root: The run's folder.
        allow_code: Whoever runs it lets it have code of its own run.
    """

    line: Line
    root: Path
    allow_code: bool = False

    def file(self, version: Version) -> Path:
        """Where a version lies once it is made."""
        return self.root / NETWORKS[version] / file_name(version)

    def load(self, version: Version) -> Network:
        """A version that is made."""
        require_arch(self.line, self.allow_code)
        return load_network(self.file(version), arch=own_arch(self.line))

    def stages(self) -> list[Stage]:
        """Those that the recipe asks for, in order.

        Raises:
            UserError: the network cannot be read, its code may not be imported, or settings that
                do not fit it.
        """
        makers = {"dense": self._model, "pruned": self._pruned, "tuned": self._tuned}
        return [makers[version]() for version in self.line.made()]

    def outline(self) -> list[Stage]:
        """The same stages by their names, for a plan that opens no network."""
        line = self.line
        what = {
            "dense": f"{Path(line.model.file).name}: {line.model.arch}",
            "pruned": f"prune by {line.prune.method}" if line.prune else "fit to a device",
            "tuned": "fine-tune",
        }
        return [
            Stage(name=NETWORKS[one], what=what[one], how={}, outputs=(), work=lambda folder: {})
            for one in line.made()
        ]

    @cached_property
    def _source(self) -> Path:
        return _network_file(self.line.model.file)

    @cached_property
    def _dense(self) -> Network:
        require_arch(self.line, self.allow_code)
        model = self.line.model
        name = model.file if _has_name(model.file) else self._source
        return load_network(name, arch=model.arch, scale=model.scale, res_scale=model.res_scale)

    def _model(self) -> Stage:
        card = self._dense.card

        def work(folder: Path) -> dict[str, Any]:
            save_network(self._dense, folder / file_name("dense"))
            return _size(self._dense)

        return Stage(
            name=NETWORKS["dense"],
            what=f"{Path(self.line.model.file).name}: {card.arch} x{card.scale}",
            how=self.line.model.model_dump(mode="json", exclude={"file"}, exclude_none=True),
            inputs={"network": lambda: self._source},
            outputs=(file_name("dense"),),
            work=work,
        )

    def _pruned(self) -> Stage:
        if self.line.fit is not None:
            return fit_stage(self, self.line.fit)
        if isinstance(self.line.prune, Trained):
            return self._pruned_by_training(self.line.prune)
        assert isinstance(self.line.prune, OneShot)
        asked = self.line.prune
        own = {"method", "refit", "calibration", "network_wise", "default_exclude"}
        values = asked.model_dump(exclude=own)
        if asked.default_exclude:
            values["exclude"] = tuple(
                dict.fromkeys((*default_exclude(self._dense), *asked.exclude))
            )
        options, method = PruneOptions(**values), find_method(asked.method)
        calibrated = asked.refit or method.kind != "scored"
        learned = steps_of(method, asked.network_wise)

        def work(folder: Path) -> dict[str, Any]:
            from srdeploy.reconstruct.calibration import Calibration
            from srdeploy.reconstruct.run import prune_at_once

            images = Calibration(
                asked.calibration or BUILTIN,
                network_wise=learned,
                steps_asked=asked.network_wise is not None,
            )
            found = prune_at_once(self.load("dense"), method, options, images, refits=asked.refit)
            return _keep_pruned(folder, *found)

        by = options.criterion if method.scores_by_criterion else method.name
        proven = f"compact, prove{', refit' if calibrated else ''}"
        how = options.model_dump(mode="json")
        if calibrated:
            how |= {"method": method.name, "refit": True, "network_wise": learned}
            if learned and asked.network_wise is None:
                how["network_wise"] = f"up to {learned}"
        elif not method.scores_by_criterion:
            how["method"] = method.name
        return Stage(
            name=NETWORKS["pruned"],
            what=f"prune at once by {by}, ratio {options.ratio:g}, {proven}",
            how=how,
            inputs=_calibration_inputs(asked.calibration) if calibrated else {},
            parents=(NETWORKS["dense"],),
            outputs=(PLAN, file_name("pruned")),
            work=work,
        )

    def _pruned_by_training(self, asked: Trained) -> Stage:
        # Recovery is a stage of its own, so that it can change without the pruning's repetition.
        recipe = asked.recipe(default_exclude(self._dense)).model_copy(
            update={"finetune": {"iterations": 0}}
        )
        training = recipe.regularise_recipe(self._dense.card)

        def work(folder: Path) -> dict[str, Any]:
            from srdeploy.train.method import prune_trained

            return _keep_pruned(folder, *prune_trained(self.load("dense"), recipe, folder / RUN))

        options = recipe.prune
        return Stage(
            name=NETWORKS["pruned"],
            what=f"prune by {asked.name or asked.method}, ratio {options.ratio:g}, compact, prove",
            how={
                "prune": options.decisive(),
                "training": _decisive(training),
                **({"refit": True} if recipe.refit else {}),
            },
            inputs={
                **_training_inputs(training),
                **(_calibration_inputs(recipe.calibration) if recipe.refit else {}),
            },
            parents=(NETWORKS["dense"],),
            outputs=(PLAN, file_name("pruned")),
            work=work,
        )

    def _tuned(self) -> Stage:
        recipe = self._recovery()
        before: Version = "pruned" if "pruned" in self.line.made() else "dense"

        def work(folder: Path) -> dict[str, Any]:
            return self._tune(folder, before, recipe)

        rounding = " for int8" if recipe.quantise is not None else ""
        parents = dict.fromkeys((NETWORKS[before], NETWORKS["dense"]))
        return Stage(
            name=NETWORKS["tuned"],
            what=f"fine-tune{rounding}, {recipe.iterations} iterations",
            how={**_decisive(recipe), **_chosen_by(recipe.validation)},
            inputs={**_training_inputs(recipe), **_measured_inputs(recipe.validation)},
            parents=tuple(parents) if recipe.distill else (NETWORKS[before],),
            outputs=(file_name("tuned"),),
            work=work,
        )

    def _tune(self, folder: Path, before: Version, recipe: TrainRecipe) -> dict[str, Any]:
        from srdeploy.exporting.precision.quantise_finetune import finetune_int8
        from srdeploy.train.journal import read_curve
        from srdeploy.train.loop import train

        network = self.load(before)
        if recipe.quantise is not None:
            result = finetune_int8(network, recipe, folder / RUN)
        else:
            teacher = self.load("dense") if recipe.distill else None
            result = train(network, recipe, folder / RUN, step="finetune", teacher=teacher)
        save_network(result, folder / file_name("tuned"))
        entry = result.card.history[-1]
        told: dict[str, Any] = {n: entry[n] for n in ("trained_on", "kept") if n in entry}
        curve = read_curve(folder / RUN, recipe.validation)
        return {"curve": curve, "recipe": recipe.digest(), **told}

    def _recovery(self) -> TrainRecipe:
        card, line = self._dense.card, self.line
        if line.train is None:
            assert isinstance(line.prune, Trained)
            recipe = line.prune.recipe(()).finetune_recipe(card)
            assert recipe is not None
            return recipe
        rounded = line.train.get("quantise") is not None
        defaults = finetune_defaults(card, line.train.get("iterations"), rounded)
        return parse(TrainRecipe, merged(defaults, line.train), where="train")


def _decisive(recipe: TrainRecipe) -> dict[str, Any]:
    """The settings that decide the weights; paths as the recipe writes them, not as they lie."""
    return recipe.decisive()


def _chosen_by(check: Validation | None) -> dict[str, Any]:
    """What decides which iteration's network is kept."""
    if check is None or check.keep == "last":
        return {}
    return {"kept by": check.what, "kept every": check.every}


def _measured_inputs(check: Validation | None) -> dict[str, Callable[[], Path]]:
    """The images by which a network is chosen, unless the training images hold them."""
    if check is None or check.keep == "last" or check.data == HELD_OUT:
        return {}
    return {f"validation {check.data}": partial(benchmark_folder, check.data)}


def _training_inputs(recipe: TrainRecipe) -> Mapping[str, Callable[[], Path]]:
    """Training images, and networks or images that a recipe names."""
    found: dict[str, Callable[[], Path]] = {}

    def add(key: str, text: str, resolve: Callable[[str], Path]) -> None:
        found[f"{key} {text}"] = lambda: resolve(text)

    for folder in recipe.data.folders:
        add("images", folder.path, training_folder)
    if recipe.data.hdf5 is not None:
        add("images", recipe.data.hdf5, expand)
    if recipe.distill is not None and recipe.distill.teacher is not None:
        add("teacher", recipe.distill.teacher, _network_file)
    if recipe.quantise is not None and recipe.quantise.calibration is not None:
        add("calibration", recipe.quantise.calibration, training_folder)
    return found


def _calibration_inputs(images: str | None) -> Mapping[str, Callable[[], Path]]:
    folder = images or BUILTIN
    return {f"calibration {folder}": partial(training_folder, folder)}


def _network_file(text: str) -> Path:
    return find_file(text) if _has_name(text) else expand(text)


def _has_name(text: str) -> bool:
    """Whether a text is the name of a shipped network or of a file on the hub, and no path."""
    return text in shipped_networks() or hub_file(text) is not None


def _size(network: Network) -> dict[str, Any]:
    from srdeploy.models.count import count

    try:
        counts = count(network)
    except UserError:
        return {}
    return {"params": counts.params, "macs_720p": counts.macs_720p}


def _keep_pruned(folder: Path, small: Network, report: Any) -> dict[str, Any]:
    with atomic_path(folder / PLAN) as temporary:
        temporary.write_text(report.plan.model_dump_json(indent=1) + "\n", encoding="utf-8")
    save_network(small, folder / file_name("pruned"))
    told = report.to_dict()
    return {key: told[key] for key in ("params", "macs_720p", "proof")}
