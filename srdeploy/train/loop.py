"""The one training loop: from scratch, fine-tuning, and recovery after pruning."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from srdeploy.errors import SrdeployError, UserError
from srdeploy.models.load import load_network
from srdeploy.models.network import Network
from srdeploy.models.registry import create, find_architecture
from srdeploy.models.weight_norm import merge_weight_norm
from srdeploy.quality.evaluate import evaluate
from srdeploy.runtime.open import open_session
from srdeploy.train.best import Best, read_best
from srdeploy.train.checkpoint import Origin, load_state, save_state, weights_digest
from srdeploy.train.distill import DistillHook
from srdeploy.train.fake_quant import as_rounded
from srdeploy.train.hdf5 import Hdf5Patches
from srdeploy.train.hooks import StepHook
from srdeploy.train.interrupt import StopRequest, TrainingStopped
from srdeploy.train.journal import TrainingJournal, psnr_of, read_curve
from srdeploy.train.loader import Loader
from srdeploy.train.patches import FolderPatches, PatchSource
from srdeploy.train.precision import exact_float32, mixed
from srdeploy.train.processes import Processes, environment, joined
from srdeploy.train.quantise import QuantiseHook
from srdeploy.train.recipe import HELD_OUT, Quantise, TrainRecipe
from srdeploy.train.run import Run
from srdeploy.train.run_folder import BEST, CHECKPOINT, METRICS, RECIPE
from srdeploy.train.sparsity import SparsityHook
from srdeploy.util.figures_json import dumps
from srdeploy.util.files import atomic_path, discard
from srdeploy.util.progress import track
from srdeploy.util.strict import expand


def starting_network(recipe: TrainRecipe) -> Network:
    """The freshly initialised network a recipe describes: the same one for the same seed.

    Raises:
        UserError: the recipe names no network, an unknown architecture or option, or a network to
            start from that cannot be read or has no tensor in common.
    """
    if recipe.network is None:
        raise UserError("The recipe has no `network` section; give a network file to start from.")
    for section, sentence in find_architecture(recipe.network.arch).recipe_needs.items():
        if getattr(recipe, section) is None:
            raise UserError(sentence)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = create(recipe.network.arch, **recipe.network.config)
    if recipe.network.start is None:
        return network
    return _take_over(network, expand(recipe.network.start))


def _take_over(network: Network, start: Path) -> Network:
    """The network with another one's tensors where name and shape agree."""
    given = load_network(start)
    own, weights = network.module.state_dict(), given.module.state_dict()
    taken = {n: weights[n] for n, t in own.items() if n in weights and weights[n].shape == t.shape}
    if not any(name in taken for name, _ in network.module.named_parameters()):
        raise UserError(f"No tensor of '{start}' fits the network; start from a related one.")
    network.module.load_state_dict(own | taken)
    card = network.card.step(
        step="start", network=start.name, weights=weights_digest(given.module),
        at_random=sorted(set(own) - set(taken)),
    )  # fmt: skip
    return Network(network.module, card)


def train(
    network: Network,
    recipe: TrainRecipe,
    run_dir: str | Path,
    *,
    resume: bool = True,
    hooks: Sequence[StepHook] = (),
    step: str = "train",
    in_place: bool = False,
    teacher: Network | None = None,
) -> Network:
    """Train a network; the given one is left as it is unless ``in_place``.

    ``run_dir`` receives ``checkpoint.pt`` (the latest state), ``metrics.jsonl``, ``recipe.yaml``.
    If it holds a checkpoint the run goes on from there, and its result is the one an uninterrupted
    run would have given: to the bit on the same machine with the same number of threads, else to
    rounding.

    With a validation that keeps the best, ``best.safetensors`` there is the network of the highest
    PSNR so far, and the one of the whole run is the result. Of ``finetune`` the given network is a
    candidate, iteration 0; it is measured whatever is kept.

    Under torchrun the processes share each batch; the run folder must be one that all of them see.
    The first alone writes to it, and a run may be resumed with another number of processes.

    Args:
        network: where to start from.
        recipe: every setting.
        run_dir: the run's own folder; made if absent.
        resume: go on from a checkpoint found there, instead of starting over.
        hooks: called around each optimiser step.
        step: the name of the entry in the card's history: ``train`` or ``finetune``.
        in_place: train the given module itself, for hooks that hold on to its tensors; it ends
            with the plain weights of the last iteration, on the training device.
        teacher: the network to learn from, where the recipe's ``distill`` names none.

    Returns:
        A new network with the averaged weights (or the plain ones, without ``ema``). The entry in
        its history says what it learned from (``trained_on``) and, after a validation, ``kept``:
        the iteration that it is, its PSNR, that of the ``start`` and of the ``end``, dB.

    Raises:
        UserError: unusable data, a checkpoint of another recipe, network or data set, or a batch
            that the processes cannot share equally.
        TrainingStopped: SIGINT or SIGTERM; the state is saved.
        SrdeployError: the loss is no longer finite (the last good checkpoint is kept), or
            another process has ended.
    """
    if recipe.quantise and not any(isinstance(hook, QuantiseHook) for hook in hooks):
        raise UserError(
            "A recipe with `quantise` is for `srdeploy finetune` of a network that is trained; "
            "leave the section out here."
        )
    run_dir = Path(run_dir)
    if run_dir.exists() and not run_dir.is_dir():
        raise UserError(f"The run folder '{run_dir}' is a file; choose another.")
    processes = environment()
    processes.share(recipe.batch)  # an impossible share is told before anything is decoded
    with ExitStack() as stack:
        stack.enter_context(joined())
        with processes.one_first():  # it decodes the images; the others find them in the cache
            source = _open_source(network, recipe, processes)
        hooks = [*_distillation(network, recipe, teacher), *_sparsity(network, recipe), *hooks]
        origin = Origin.of(recipe, network, source.digest)
        if processes.is_first and not (resume and (run_dir / CHECKPOINT).exists()):
            for name in (CHECKPOINT, BEST, METRICS):
                discard(run_dir / name, run_dir)
        processes.wait()
        # Of all GPUs only this process's: the state of another could not be read without using it.
        gpus = range(torch.cuda.device_count())[processes.local_rank :][:1]
        stack.enter_context(torch.random.fork_rng(gpus))
        for hook in hooks:
            stack.callback(hook.detach)
        run = Run(network, recipe, hooks, in_place, processes)
        if (run_dir / CHECKPOINT).exists():
            run.restore(load_state(run_dir / CHECKPOINT, origin))
        processes.check_same("The start of the run is", f"{origin} {run.iteration}")
        stop = stack.enter_context(StopRequest())
        stack.enter_context(_torch_threads(recipe.threads))
        stack.enter_context(exact_float32())
        stack.enter_context(mixed(run.module, recipe.precision, run.device))
        journal = None
        if processes.is_first:
            with atomic_path(run_dir / RECIPE) as temporary:
                settings = recipe.model_dump(mode="json", exclude_none=True)
                temporary.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
            title = f"{step} from {run.iteration}" if run.iteration else step
            bar = stack.enter_context(track(title, recipe.iterations, run.iteration))
            journal = TrainingJournal(run_dir, run.iteration, bar, recipe.tensorboard)
            stack.callback(journal.close)
        loop = _Loop(run, run_dir, origin, journal, stop, resume, source)
        if step == "finetune":
            loop.measure_start(network)
        loop.run_to_end()
        processes.wait()  # until the first has written what all read
        result, kept = (run.averaged(), {}) if in_place else _kept(run, run_dir)
        processes.check_same("What is kept is", f"{weights_digest(result.module)} {kept}")
    card = result.card.step(
        step=step,
        recipe=recipe.digest()[:16],
        data=source.digest[:16],
        iterations=recipe.iterations,
        batch=recipe.batch,
        loss=recipe.loss,
        seed=recipe.seed,
        trained_on=source.told,
        **_told(recipe.quantise),
        **kept,
    )
    return replace(result, card=card)


def _kept(run: Run, run_dir: Path) -> tuple[Network, dict[str, Any]]:
    """The network to hand on, and what its history says of that choice."""
    check, last = run.recipe.validation, run.averaged()
    curve = {entry["iteration"]: psnr_of(entry) for entry in read_curve(run_dir, check)}
    if check is None or run.iteration not in curve:
        return last, {}
    best = read_best(run_dir, check, last) if check.keep == "best" else None
    network, record = best or (last, {"iteration": run.iteration, "psnr": curve[run.iteration]})
    told = {**record, "data": Path(check.data).name, "end": curve[run.iteration]}
    if 0 in curve:
        told["start"] = curve[0]
    return network, {"kept": json.loads(dumps(told))}


class _Loop:
    """Iterations with what happens between them: reports, validation, checkpoints, stopping."""

    def __init__(
        self,
        run: Run,
        run_dir: Path,
        origin: Origin,
        journal: TrainingJournal | None,
        stop: StopRequest,
        resume: bool,
        source: PatchSource,
    ) -> None:
        self._run, self._run_dir, self._origin = run, run_dir, origin
        self._processes, self._source = run.processes, source
        self._journal, self._stop = journal, stop  # only the first process has a journal
        check = run.recipe.validation
        self._best: Best | None = None
        if journal is not None and check is not None and check.keep == "best":
            self._best = Best(run_dir, check)
        self._again = "" if resume else " (without --fresh)"
        self._saved_at = self._started = time.perf_counter()
        self._loss = torch.zeros((), device=run.device)
        self._count = 0

    def measure_start(self, network: Network) -> None:
        """Measure what a run begins with, unless that is done, by this validation."""
        check, done = self._run.recipe.validation, self._run.iteration
        if check is None or self._journal is None:
            return
        measured = {entry["iteration"] for entry in read_curve(self._run_dir, check)}
        if 0 in measured and (self._best is None or self._best.known):
            return
        module = merge_weight_norm(network.copy().module).eval()
        self._validate(replace(network, module=module), 0)
        if done == self._run.recipe.iterations:  # it was watched otherwise, or not at all
            self._validate(self._run.averaged(), done)

    def run_to_end(self) -> None:
        """Do the iterations that are left."""
        run, recipe, source = self._run, self._run.recipe, self._source
        check = recipe.validation if self._journal is not None else None
        every = None if check is None else check.every
        pin = run.device.type == "cuda"
        loader = Loader(source, run.iteration, recipe.iterations, recipe.workers, pin)
        for batch in loader:
            lr = run.learning_rate()
            # Summed where it is computed: asking for its value would make a GPU wait each time.
            self._loss += run.advance(batch)
            self._count += 1
            if self._journal is not None:
                self._journal.advance()
            last = run.iteration == recipe.iterations
            if last or run.iteration % recipe.log_every == 0:
                self._report(loader, lr)
            if every is not None and (last or run.iteration % every == 0):
                self._validate(run.averaged(), run.iteration)
            # Signals and clocks differ between processes; what follows from them must not.
            stop, save = self._processes.any(self._stop.requested, self._save_due())
            if last or stop or save:
                self._save()
            if stop and not last:
                raise TrainingStopped(
                    f"Stopped after iteration {run.iteration} of {recipe.iterations}; the state "
                    f"is saved in '{self._run_dir}': repeat the command{self._again} to go on "
                    "from there."
                )

    def _report(self, loader: Loader, lr: float) -> None:
        run = self._run
        loss = self._processes.mean(self._loss) / self._count
        if not math.isfinite(loss):
            raise self._diverged()
        elapsed = time.perf_counter() - self._started
        run.seconds += elapsed
        times = loader.reset_times()
        if self._journal is not None:
            self._journal.write(
                run.iteration,
                loss=loss,
                lr=lr,
                images_per_s=round(self._count * run.recipe.batch / elapsed, 2),
                loader_wait=round(times.waited / elapsed, 4),
                loader_work=round(times.worked / elapsed, 4),
                seconds=round(run.seconds, 1),
                **run.reports(),
            )
        self._started = time.perf_counter()
        self._loss.zero_()
        self._count = 0

    def _validate(self, network: Network, iteration: int) -> None:
        recipe, paused = self._run.recipe, time.perf_counter()
        check = recipe.validation
        assert check is not None
        assert self._journal is not None
        scale = check.scale or network.card.scale
        folder: Any = check.data
        if folder == HELD_OUT:
            folder = self._source.held_out(scale)
        elif folder != "builtin":
            folder = expand(folder)
        measured = network if recipe.quantise is None else as_rounded(network)
        with open_session(measured, threads=torch.get_num_threads()) as session:
            quality = evaluate(session, folder, scale, check.protocol, progress=False)
        figures = quality.as_dict()
        del figures["per_image"]
        self._journal.write(iteration, what=check.what, **figures)
        if self._best is not None:
            self._best.offer(network, iteration, quality.psnr)
        self._started += time.perf_counter() - paused

    def _save_due(self) -> bool:
        every = self._run.recipe.checkpoint
        by_count = every.iterations is not None and self._run.iteration % every.iterations == 0
        elapsed = time.perf_counter() - self._saved_at
        return by_count or (every.minutes is not None and elapsed >= 60 * every.minutes)

    def _save(self) -> None:
        if not self._run.is_finite():
            raise self._diverged()
        self._processes.check_same("The weights are", self._run.fingerprint())
        if self._processes.is_first:
            save_state(self._run_dir / CHECKPOINT, self._run.state(), self._origin)
        self._processes.wait()  # whoever ends first would have the others ended by torchrun
        self._saved_at = time.perf_counter()

    def _diverged(self) -> SrdeployError:
        kept = ""
        if (self._run_dir / CHECKPOINT).exists():
            kept = f" (the last good state is kept in '{self._run_dir}')"
        return SrdeployError(
            f"Training diverged before iteration {self._run.iteration}: the loss is no longer "
            f"finite{kept}; lower the learning rate, lengthen the warm-up or clip the gradients."
        )


def _open_source(network: Network, recipe: TrainRecipe, processes: Processes) -> PatchSource:
    if recipe.data.hdf5 is not None:
        return Hdf5Patches(network.card, recipe, processes)
    return FolderPatches(network.card, recipe, processes)


def _distillation(network: Network, recipe: TrainRecipe, teacher: Network | None) -> list[StepHook]:
    if recipe.distill is None:
        return []
    if recipe.distill.teacher is not None:
        teacher = load_network(str(expand(recipe.distill.teacher)))
    if teacher is None:
        raise UserError("The recipe distils but names no teacher; set `distill.teacher`.")
    return [DistillHook(teacher, network, recipe.distill, recipe)]


def _told(quantise: Quantise | None) -> dict[str, str]:
    if quantise is None:
        return {}
    return {"quantise": f"{quantise.precision}, {quantise.activations} activations"}


def _sparsity(network: Network, recipe: TrainRecipe) -> list[StepHook]:
    if recipe.sparsity is None:
        return []
    return [SparsityHook(network, recipe.sparsity)]


@contextmanager
def _torch_threads(count: int | None) -> Iterator[None]:
    previous = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(previous)
