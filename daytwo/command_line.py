"""The ``daytwo`` command. Every command is a few lines over a function that can be called from Python, too."""

import ast
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

import daytwo
from daytwo.course import course_names
from daytwo.loading import load
from daytwo.registration import compound_ids, make_family

app = typer.Typer(
    help="DayTwo: Gymnasium environments that measure and train learning to learn. "
    "An agent lives lifetimes of episodes that share a hidden task, and is paid for improving on itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

Env = Annotated[
    str, typer.Argument(metavar="ENV", help="An id such as daytwo/Bandit-v0 (see: daytwo list), or module:Class.")
]
Settings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[NAME=VALUE]...",
        help="Settings of the environment: course=single level=1 episodes=5 split=test reward=improvement rate=0.25, "
        "and the family's own, such as arms=5 pulls=10.",
    ),
]
Seed = Annotated[int, typer.Option(help="Everything random follows from it.")]


def parse_settings(words: list[str] | None) -> dict[str, Any]:
    """``["arms=5", "course=single"]`` as keyword arguments; values are Python literals, or else plain text.

    Raises:
        ValueError: a word is not NAME=VALUE, or a name comes twice.
    """
    settings: dict[str, Any] = {}
    for word in words or []:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise ValueError(f"Settings read NAME=VALUE, received {word!r}.")
        if name in settings:
            raise ValueError(f"The setting {name!r} is given twice.")
        try:
            settings[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            settings[name] = text
    return settings


def names_of(text: str | None) -> list[str] | None:
    """``"a,b"`` as a list; None stays None."""
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


@app.command("list")
def list_() -> None:
    """Show every environment: its levels, what it tests, and its reference returns."""
    from daytwo.calibration import reference_returns

    table = Table(title="DayTwo environments")
    table.add_column("environment", no_wrap=True)
    for heading in ("level", "steps", "actions", "random", "oracle", "tests"):
        table.add_column(heading)
    for env_id in daytwo.env_ids():
        family = make_family(env_id)
        reference = reference_returns(family)
        for k, level in enumerate(family.levels):
            offered = int(family.action_masks[k].sum())
            table.add_row(
                env_id if k == 0 else "",
                f"{k} {level.name}",
                str(level.horizon),
                f"{offered}" if not family.continuous else f"{family.actions} continuous",
                f"{reference.random_return[k]:.2f}",
                f"{reference.oracle_return[k]:.2f}",
                ", ".join(family.tags) if k == 0 else "",
            )
    console.print(table)
    console.print(f"To train on several families at once: {', '.join(compound_ids())}", soft_wrap=True)
    console.print(f"Agents: {', '.join(['reference', *daytwo.agent_names()])}", soft_wrap=True)
    console.print(f"Courses: {', '.join(course_names())}", soft_wrap=True)
    console.print(f"Teachers: {', '.join(daytwo.teacher_names())}", soft_wrap=True)
    console.print("random, oracle: mean raw return of an episode under the random policy and under the oracle.")


@app.command()
def play(
    env: Env,
    settings: Settings = None,
    seed: Seed = 0,
) -> None:
    """Live a lifetime yourself, in the terminal (three episodes a level, unless episodes=N).

    In the end, also after "quit", your adaptation curve is shown beside those of the random policy, the reference
    learner and the oracle on the same lifetime.
    """
    from daytwo.viewing import play as play_lifetime

    play_lifetime(env, seed=seed, settings=parse_settings(settings))


@app.command()
def benchmark(
    protocols: Annotated[
        str,
        typer.Argument(
            metavar="[PROTOCOLS]",
            help="One or several, separated by commas: core, adapt, transfer, retention, switch, length, "
            "generalisation, quick, or all (docs/evaluation.md says what each asks).",
        ),
    ] = "core,adapt",
    families: Annotated[str | None, typer.Option(help="Environment ids, separated by commas; all by default.")] = None,
    agents: Annotated[
        str | None,
        typer.Option(
            help="Agents, separated by commas: names, folders that training left, module:Class; by default the "
            "protocol's own, for core and adapt all that fit."
        ),
    ] = None,
    lifetimes: Annotated[
        int | None, typer.Option(min=1, help="Lifetimes of each evaluation; the protocol's own number by default.")
    ] = None,
    seed: Seed = 0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; as many as there are cores by default.")] = None,
    store: Annotated[Path, typer.Option(help="The results file. What it holds already is not computed again.")] = Path(
        "results.sqlite"
    ),
    report: Annotated[Path, typer.Option(help="The page to write; .csv, .json and .tex go beside it.")] = Path(
        "report.html"
    ),
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Spread the evaluations over a Ray cluster: its address, auto, or local. Needs the extra ray.",
        ),
    ] = None,
) -> None:
    """Evaluate agents on environments, each with its amnesiac twin and other controls, and write the report.

    Stop it at any moment; the same command goes on where it was.
    """
    from daytwo.evaluation import run_suite
    from daytwo.evaluation.protocols import find_protocols

    cells = [
        cell
        for protocol in find_protocols(protocols)
        for cell in protocol.cells(names_of(families), names_of(agents), lifetimes=lifetimes, seed=seed)
    ]
    backend: dict[str, Any] = {} if ray is None else {"backend": "ray", "address": ray}
    outcome = run_suite(cells, store, jobs=jobs, **backend)
    console.print(
        f"{outcome.computed} evaluations computed, {outcome.skipped} were stored already, "
        f"{len(outcome.failures)} failed, in {outcome.seconds:.0f} s."
    )
    write(store, report)
    if outcome.failures:
        raise typer.Exit(1)


def write(stores: Path | list[Path], report: Path, mixed: bool = False) -> None:
    """Write the report, print its suite scores, and say where it is."""
    from daytwo.evaluation.report import write_report

    written = write_report(stores, report, mixed=mixed)
    for title, columns, rows in written.tables:
        table = Table(*columns, title=title)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for path in written.paths:
        console.print(f"Wrote {path}", soft_wrap=True)


@app.command()
def evaluate(
    agent: Annotated[
        str, typer.Argument(help="A name (see: daytwo list), a folder that training left, or module:Class.")
    ],
    env: Env,
    settings: Settings = None,
    lifetimes: Annotated[int, typer.Option(min=1, help="How many lifetimes.")] = 512,
    seed: Seed = 0,
    options: Annotated[str, typer.Option(help="The agent's own options, e.g. 'c=0.2'; separated by spaces.")] = "",
    store: Annotated[
        Path | None, typer.Option(help="Keep the results in this file (and reuse those it holds).")
    ] = None,
) -> None:
    """Evaluate one agent with its amnesiac twin and its redrawn control, and print its metrics with 95% intervals."""
    from daytwo.evaluation import evaluate as run
    from daytwo.evaluation import score

    chosen = parse_settings(settings)
    chosen.setdefault("split", "test" if "test" in _splits(env, chosen) else "all")
    results, reports = [], {}
    for memory, task in (("kept", "fixed"), ("wiped", "fixed"), ("kept", "redrawn")):
        given: dict[str, Any] = {"lifetimes": lifetimes, "seed": seed, "memory": memory, "task": task}
        own = None if store is not None else _within_budget(agent, env, parse_settings(options.split()), chosen)
        if own is not None:
            lived, reports["redrawn" if task == "redrawn" else memory] = own(env, progress=True, **given, **chosen)
            results.append(lived)
            lifetimes = lived.lifetimes  # where a budget ended it early, its controls live the same lifetimes
            continue
        given["agent_options"] = parse_settings(options.split())
        if store is None:
            results.append(run(agent, env, progress=True, **given, **chosen))
        else:
            results.append(_stored(store, agent, env, given, dict(chosen)))
    kept, wiped, redrawn = results
    scores = score(kept, wiped, redrawn)
    console.print(str(scores), highlight=False, markup=False)
    for part in scores.stages:
        curve = " ".join(f"{value:.3f}" for value in part.curve[0])
        console.print(f"  curve, {part.name}: {curve}", highlight=False, markup=False, soft_wrap=True)
    raw = kept.returns
    console.print(f"  mean raw return of an episode: first {raw[:, 0].mean():.3f}, last {raw[:, -1].mean():.3f}")
    for name, result in (("kept", kept), ("wiped", wiped)):
        returns = " ".join(f"{value:.3f}" for value in result.returns.mean(axis=0))
        console.print(f"  raw returns by episode, {name}: {returns}", highlight=False, soft_wrap=True)
    for name, told in reports.items():
        figures = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in told.items() if value is not None)
        console.print(f"  report, {name}: {figures}", highlight=False, markup=False, soft_wrap=True)


def _within_budget(agent: str, env: str, options: dict[str, Any], settings: dict[str, Any]) -> Any:
    """How an agent is evaluated that keeps to a budget and reports what it cost; None for all others."""
    if ":" not in agent or not hasattr(load(agent), "evaluate_within_budget"):
        return None
    spec = daytwo.LifetimeVectorEnv(env, 1, **settings).lifetime_spec
    made: Any = daytwo.make_agent(agent, spec, **options)
    return made.evaluate_within_budget


def _splits(env: str, settings: dict[str, Any]) -> tuple[str, ...]:
    """The splits that a family offers under some settings (those that are the family's own)."""
    common = daytwo.LifetimeVectorEnv.__init__.__kwdefaults__ or {}
    return make_family(env, **{name: value for name, value in settings.items() if name not in common}).splits


def _stored(store: Path, agent: str, env: str, given: dict[str, Any], settings: dict[str, Any]) -> Any:
    from daytwo.evaluation import Cell, Store, run_suite

    cell = Cell(agent=agent, env_id=env, split=settings.pop("split"), settings=settings, **given)
    outcome = run_suite([cell], store, jobs=1)
    if outcome.failures:
        raise ValueError(outcome.failures[0][1])
    with Store(store) as opened:
        return opened.get(cell.key).result


@app.command()
def ladder(
    env: Annotated[
        str | None, typer.Argument(metavar="[ENV]", help="An id or module:Class; every environment by default.")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VALUE]...", help="The family's own settings.")
    ] = None,
    lifetimes: Annotated[int, typer.Option(min=2, help="Lifetimes of each measurement.")] = 1024,
    seed: Seed = 0,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; as many as there are cores by default.")] = None,
    store: Annotated[Path, typer.Option(help="The results file. What it holds already is not computed again.")] = Path(
        "ladder.sqlite"
    ),
    train_steps: Annotated[
        int | None,
        typer.Option(min=1, help="Train the memoryless PPO anew for so many steps a level (the extra daytwo[train])."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Write the memoryless rungs into the package's table (for maintainers).")
    ] = False,
) -> None:
    """Print the oracle ladder of every level: random 0, best memoryless, reference learner, oracle 1."""
    from daytwo.evaluation import ladder as rungs
    from daytwo.evaluation.rungs import as_estimate, store_rungs

    chosen, families = parse_settings(settings), None if env is None else [env]
    trained: dict[tuple[str, int], Any] = {}
    if train_steps is not None:
        try:
            from daytwo.integrations.training import train as run
        except ImportError as error:
            raise ImportError(f"Training needs {error.name}: pip install 'daytwo[train]'.") from error
        trained = rungs.train_ppo(families, run, steps=train_steps, seed=seed, lifetimes=lifetimes, **chosen)
    ppo = {key: as_estimate(rung) for key, rung in trained.items()} or None
    measured = rungs.climb(families, lifetimes=lifetimes, seed=seed, store=store, jobs=jobs, ppo=ppo, **chosen)
    if keep:
        store_rungs(rungs.rows_to_keep(measured, trained, lifetimes=lifetimes, seed=seed))
    for env_id in dict.fromkeys(one.env_id for one in measured):
        own = [one for one in measured if one.env_id == env_id]
        table = Table(*rungs.LADDER_COLUMNS, title=f"{env_id}: mean normalised return ± half a 95% interval")
        for one in own:
            table.add_row(*rungs.ladder_row(one))
        console.print(table)
        later = [one for one in own if one.transfer is not None]
        if later:
            table = Table(*rungs.TRANSFER_COLUMNS, title="the reference learner's first episode at a level")
            for one in later:
                table.add_row(*rungs.transfer_row(one))
            console.print(table)
        for one in own:
            for shortfall in one.shortfalls:
                console.print(f"{env_id} level {one.level} falls short: {shortfall}", highlight=False, soft_wrap=True)
    console.print(
        "Random is 0 and the mean oracle 1. Single course, a fresh task, ten episodes. constant: the best action "
        "(chosen on other tasks); reactive: hand-made, without a memory; PPO: without a memory, trained on one-episode "
        f"lives (-: not trained); twin: the reference learner, wiped before every episode. {lifetimes} lifetimes, seed "
        f"{seed}, test split."
    )


@app.command()
def train(
    algorithm: Annotated[
        str, typer.Argument(help="rl2, recurrent-ppo, ppo (no memory), ppo-statistics, dpt or ad (docs/training.md).")
    ],
    env: Env,
    settings: Settings = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Environment steps of the whole run; the preset's by default.")
    ] = None,
    num_envs: Annotated[
        int | None, typer.Option(min=1, help="Lifetimes side by side; chosen to suit by default.")
    ] = None,
    seed: Seed = 0,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; runs/ALGORITHM-ENV-SEED by default.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in that folder, exactly.")
    ] = False,
    options: Annotated[
        str, typer.Option(help="Training options, e.g. 'hidden_size=64 learning_rate=1e-3'; --describe lists them.")
    ] = "",
    teacher: Annotated[
        str | None, typer.Option(help="Who chooses what is practised: a name (see: daytwo list) or module:Class.")
    ] = None,
    teacher_options: Annotated[str, typer.Option(help="The teacher's arguments, e.g. 'floor=0.2 rate=0.1'.")] = "",
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between checkpoints; an eighth of the run by default.")
    ] = None,
    evaluate_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between validations; a tenth of the run by default.")
    ] = None,
    no_evaluate: Annotated[bool, typer.Option("--no-evaluate", help="Do not validate meanwhile.")] = False,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    describe: Annotated[
        bool, typer.Option("--describe", help="Train nothing: show every training option, its value and its meaning.")
    ] = False,
) -> None:
    """Meta-train an agent (needs the extra: pip install 'daytwo[train]').

    What is not given is as the preset of ALGORITHM and ENV says. Ctrl-C saves a checkpoint. The folder of the run is an
    agent: daytwo evaluate FOLDER ENV.
    """
    try:
        from daytwo.integrations import training
    except ImportError as error:
        raise ImportError(f"Training needs {error.name}: pip install 'daytwo[train]'.") from error
    chosen, overrides = parse_settings(settings), parse_settings(options.split())
    if describe:
        plan = training.make_plan(algorithm, env, steps=steps, settings=chosen, overrides=overrides)
        table = Table("option", "value", "from", "meaning", title=f"{algorithm} on {env}")
        for row in training.describe_options(algorithm, env, overrides):
            table.add_row(*row)
        console.print(table)
        words = " ".join(f"{name}={value}" for name, value in plan.settings.items()) or "the environment's defaults"
        console.print(f"{plan.steps:,} steps; settings: {words}. Change options with --options 'NAME=VALUE ...'.")
        return
    summary = training.train(
        algorithm,
        env,
        steps=steps,
        num_envs=num_envs,
        seed=seed,
        out=out,
        resume=resume,
        settings=chosen,
        overrides=overrides,
        checkpoint_every=checkpoint_every,
        evaluate_every=evaluate_every,
        evaluate=not no_evaluate,
        device=device,
        teacher=teacher,
        teacher_options=parse_settings(teacher_options.split()),
    )
    state = "Finished" if summary.finished else "Stopped, to be resumed with --resume"
    console.print(f"{state}: {summary.steps:,} steps in {summary.seconds:.0f} s.")
    seen = [k for k, value in enumerate(summary.curve) if value == value]
    if seen:
        curve = " ".join(f"{value:.2f}" for value in summary.curve[: seen[-1] + 1])
        console.print(f"Training curve by episode: {curve}")
    if summary.validation is not None:
        told = summary.validation
        parts = (f"{name} {told[name][0]:.3f} ± {told[name][2] - told[name][0]:.3f}" for name in ("area", "learning"))
        console.print(f"Validation ({told['lifetimes']} lifetimes, split {told['split']}): {', '.join(parts)}")
    if env in compound_ids():
        # Its agents live in the environments it is made of, one by one.
        words = f"{summary.folder} {daytwo.env_ids()[0]}"
    else:
        words = " ".join([str(summary.folder), env, *(settings or [])])
    console.print(f"Evaluate it: daytwo evaluate {words}", soft_wrap=True)


@app.command()
def curriculum(
    folder: Annotated[Path, typer.Argument(help="The folder of a run that was trained with --teacher.")],
    out: Annotated[
        Path | None, typer.Option(help="The picture to write (.png, .svg, .pdf); curriculum.png in FOLDER by default.")
    ] = None,
) -> None:
    """Show what a teacher chose in a training run: a table by level, and a picture over time."""
    from daytwo.evaluation.curriculum import curriculum_rows, draw_curriculum, read_curriculum

    log = read_curriculum(folder)
    table = Table("level", "lifetimes", "share", "steps", "share", title=f"What was practised in {folder}")
    for row in curriculum_rows(log):
        table.add_row(*row)
    console.print(table)
    last = {name: log[name][-1] for name in ("effective_tasks", "mastered", "performance")}
    console.print(
        f"At the end: {last['effective_tasks']:.1f} effective tasks, {last['mastered']:.0%} of them mastered, "
        f"performance {last['performance']:.2f}."
    )
    target = folder / "curriculum.png" if out is None else out
    try:
        draw_curriculum(log, target, title=str(folder.name))
    except ImportError as error:
        raise ImportError(f"The picture needs {error.name}: pip install 'daytwo[report]'.") from error
    console.print(f"Wrote {target}.", soft_wrap=True)


@app.command()
def export(
    env: Env,
    settings: Settings = None,
    agent: Annotated[
        str, typer.Option(help="Who lives the lifetimes: a name, a folder that training left, or module:Class.")
    ] = "reference",
    lifetimes: Annotated[
        int, typer.Option(min=1, help="How many. Ask for more later, and they are added to those that are there.")
    ] = 1024,
    seed: Seed = 0,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the dataset; datasets/FAMILY-AGENT-SEED by default.")
    ] = None,
    file_format: Annotated[str, typer.Option("--format", help="parquet, hdf5 or minari.")] = "parquet",
    oracle_actions: Annotated[
        bool, typer.Option("--oracle-actions", help="Record what the oracle would have done at every step, too.")
    ] = False,
    per_part: Annotated[
        int | None, typer.Option(min=1, help="Lifetimes of a file; those of about 131,000 steps by default.")
    ] = None,
    options: Annotated[str, typer.Option(help="The agent's own options, e.g. 'c=0.2'; separated by spaces.")] = "",
) -> None:
    """Write whole lifetimes of an agent as a dataset (needs the extra: pip install 'daytwo[datasets]').

    Stop it at any moment; the same command goes on where it was. Tasks are those of the training split unless split=...
    """
    from daytwo.integrations.datasets import export_dataset

    if out is None:
        parts = (env.rpartition("/")[2].rpartition(":")[2], Path(agent.rpartition(":")[2]).name, str(seed))
        out = Path("datasets") / "-".join(parts)
    done = export_dataset(
        env,
        agent,
        out,
        lifetimes=lifetimes,
        seed=seed,
        file_format=file_format,
        oracle_actions=oracle_actions,
        per_part=per_part,
        agent_options=parse_settings(options.split()),
        progress=True,
        **parse_settings(settings),
    )
    console.print(
        f"Wrote {done.folder}: {done.lifetimes:,} lifetimes, {done.steps:,} steps, {done.bytes / 1e6:.1f} MB "
        f"({done.bytes / done.steps:.1f} bytes a step). {done.lived} of {done.parts} parts were made now, in "
        f"{done.seconds:.1f} s.",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def report(
    results: Annotated[list[Path], typer.Argument(help="One or several results files.")],
    out: Annotated[Path, typer.Option(help="The page to write; .csv, .json and .tex go beside it.")] = Path(
        "report.html"
    ),
    mixed: Annotated[
        bool, typer.Option("--mixed", help="Show results of different versions side by side, which are not comparable.")
    ] = False,
) -> None:
    """Write the report of one results file, or of several people's or machines' together.

    Agents that lived the same lifetimes are compared lifetime by lifetime, and their differences have intervals.
    """
    write(list(results), out, mixed)


@app.command()
def render(
    env: Env,
    settings: Settings = None,
    agent: Annotated[
        str, typer.Option(help="Who lives the lifetime; several, separated by commas, are shown side by side.")
    ] = "reference",
    out: Annotated[Path, typer.Option(help="The GIF to write.")] = Path("lifetime.gif"),
    seed: Seed = 0,
    frames: Annotated[int, typer.Option(min=1, help="Stop after this many pictures.")] = 200,
    fps: Annotated[int, typer.Option(min=1, max=50, help="Pictures a second.")] = 8,
    every: Annotated[int, typer.Option(min=1, help="Show every so manieth step.")] = 1,
    width: Annotated[int | None, typer.Option(min=16, help="Pixels for each agent, at most.")] = None,
    hidden: Annotated[bool, typer.Option("--hidden", help="Show only what the agent may know.")] = False,
    no_bar: Annotated[
        bool, typer.Option("--no-bar", help="Leave out the strip with the episodes' returns and the bar.")
    ] = False,
) -> None:
    """Film a lifetime as a GIF, with each episode's return and the improvement bar it had to beat drawn in."""
    from daytwo.viewing import film

    agents = names_of(agent) or [agent]
    count = film(
        env,
        out,
        agent=agents if len(agents) > 1 else agents[0],
        seed=seed,
        frames=frames,
        fps=fps,
        every=every,
        width=width,
        reveal=not hidden,
        bar=not no_bar,
        settings=parse_settings(settings),
    )
    console.print(f"Wrote {out}: {count} frames of {agent} on {env}.")


@app.command()
def speed(
    num_envs: Annotated[int, typer.Option(min=1, help="Lifetimes side by side.")] = 1024,
    seconds: Annotated[float, typer.Option(min=0.01, help="How long each measurement lasts, at least.")] = 1.0,
    families: Annotated[str | None, typer.Option(help="Environment ids, separated by commas; all by default.")] = None,
    peers: Annotated[
        bool, typer.Option("--peers", help="Measure XLand-MiniGrid, too (make peers installs it, apart from DayTwo).")
    ] = False,
    peers_python: Annotated[Path, typer.Option(help="The Python that has the peers.")] = Path(".peers/bin/python"),
) -> None:
    """Measure steps per second on one core, as ratios to Gymnasium's CartPole, measured in the same run."""
    from daytwo.evaluation.speed import measure, tables

    python = peers_python if peers else None
    for table in tables(measure(names_of(families), num_envs=num_envs, seconds=seconds, peers=python)):
        console.print(table)


@app.command()
def calibrate(
    store: Annotated[
        bool, typer.Option("--store", help="Measure the standard settings anew and store them (for maintainers).")
    ] = False,
    tasks: Annotated[
        int | None, typer.Option(min=2, help="Tasks to measure with; the standard number by default.")
    ] = None,
) -> None:
    """Print reference returns, measured by the code that calibrates, beside their exact values where known."""
    from daytwo import calibration

    table = Table(
        "environment", "settings", "level", "random", "oracle", "exact oracle", "difference / s.e.", title="Calibration"
    )
    shipped = [*daytwo.envs.standard_settings(), *daytwo.envs.harder_settings()]
    families = [make_family(env_id, **settings) for env_id, settings in shipped]
    if store:
        calibration.store(families)
    for family in families:
        found = calibration.measure(family, **({} if tasks is None else {"tasks": tasks}))
        exact_return = getattr(family, "exact_oracle_return", None)
        for k in range(len(family.levels)):
            exact = exact_return(k) if exact_return is not None else None
            error = found.oracle_error[k]
            off = None if exact is None else found.oracle_return[k] - exact
            table.add_row(
                family.id if k == 0 else "",
                _differing(family) if k == 0 else "",
                f"{k} {family.levels[k].name}",
                f"{found.random_return[k]:.3f} +- {found.random_error[k]:.3f}",
                f"{found.oracle_return[k]:.3f} +- {error:.3f}",
                "" if exact is None else f"{exact:.3f}",
                "" if off is None else f"{off / error:+.1f}" if error > 1e-12 else f"{off:+.1e} (no noise)",
            )
    console.print(table)
    console.print("+- is one standard error, over the tasks; one episode of each.")
    best = daytwo.evaluate(
        "bayes-optimal",
        "daytwo/Bandit-v0",
        kind="informative",
        course="single",
        episodes=1,
        lifetimes=8192,
        split="all",
    ).returns[:, 0]
    error = best.std(ddof=1) / len(best) ** 0.5
    console.print(
        f"Informative bandit, the best agent without privileges: {best.mean():.3f} +- {error:.3f} (exact 20.550)."
    )


def _differing(family: Any) -> str:
    """The settings of a family that are not its defaults."""
    default = type(family)().keywords
    return " ".join(f"{name}={value}" for name, value in family.keywords.items() if default.get(name) != value)


@app.command()
def tune(
    agent: Annotated[str, typer.Argument(help="An agent with options to tune, such as ucb1.")],
    env: Env,
    settings: Settings = None,
    lifetimes: Annotated[int, typer.Option(min=2, help="Lifetimes for each value tried.")] = 1024,
    seed: Seed = 0,
    store: Annotated[bool, typer.Option("--store", help="Write the outcome into the package's table.")] = False,
) -> None:
    """Choose an agent's options on the validation split."""
    from daytwo.baselines.tuning import tune as run

    found = run(agent, env, lifetimes=lifetimes, seed=seed, store=store, **parse_settings(settings))
    for row in found.grid:
        best = "  <- best" if row["options"] == found.options else ""
        console.print(f"{row['options']}: {row['score']:.4f} +- {row['error']:.4f}{best}", highlight=False)


def main() -> None:
    """Run the command; mistakes in its arguments end in one line and status 2, not in a traceback."""
    sys.path.insert(0, "")  # so that module:Class finds modules in the current folder
    try:
        app()
    except (ValueError, ImportError, OSError) as error:
        Console(stderr=True).print(f"daytwo: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(2) from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
