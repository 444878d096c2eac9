"""Settings of the training algorithms, a sentence for each, checked when they are made."""

from dataclasses import dataclass, fields
from typing import Any

INFINITY = float("inf")


def _whole(config: Any, least: int, *names: str) -> None:
    """Refuse anything but integers of at least ``least``."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, received {value!r}.")


def _is_stage(pair: Any) -> bool:
    """Whether it is a level and a number of episodes."""
    if not isinstance(pair, tuple | list) or len(pair) != 2 or any(type(number) is not int for number in pair):
        return False
    return bool(pair[0] >= 0 and pair[1] >= 1)


def _number(config: Any, low: float, high: float, *names: str, open_below: bool = False) -> None:
    """Refuse anything but numbers in ``[low, high]`` (``]low, high]`` if open below)."""
    for name in names:
        value = getattr(config, name)
        good = not isinstance(value, bool) and isinstance(value, int | float)
        if not good or not (low < value if open_below else low <= value) or not value <= high or value == INFINITY:
            below = f"above {low:g}" if open_below else f"at least {low:g}"
            limits = below if high == INFINITY else f"{below} and at most {high:g}"
            raise ValueError(f"{name} must be a number {limits}, received {value!r}.")


@dataclass(frozen=True, kw_only=True)
class PPOConfig:
    """PPO without a memory; Stable-Baselines3's name is in brackets.

    Attributes:
        rollout_steps: steps each lane takes between two updates [n_steps]; None for the longest lifetime of the course,
            at most 1024.
        lifetimes_per_batch: rollouts in one minibatch [batch_size / n_steps].
        epochs: passes over every rollout [n_epochs].
        learning_rate: of Adam at the start.
        final_learning_rate: fraction of ``learning_rate`` left at the end; it falls linearly.
        discount: of the reward per step [gamma]. Below 1 it weighs the present against what exploring brings later.
        gae_lambda: mixes the value's estimate (0) with the returns seen (1) in the advantages.
        clip_range: how far an update may move an action's probability ratio from 1.
        entropy: weight of the entropy bonus at the start [ent_coef]; it falls linearly and is 0 for the last fifth.
        value: weight of the value's squared error in the loss [vf_coef].
        gradient_clip: longest gradient of one step [max_grad_norm].
        policy_layers: widths of the dense layers before the actions.
        value_layers: the same for the value.
        activation: of the dense layers, ``tanh`` or ``relu``.
    """

    rollout_steps: int | None = None
    lifetimes_per_batch: int = 16
    epochs: int = 2
    learning_rate: float = 1e-3
    final_learning_rate: float = 0.02
    discount: float = 0.95
    gae_lambda: float = 0.8
    clip_range: float = 0.2
    entropy: float = 0.03
    value: float = 0.5
    gradient_clip: float = 0.5
    policy_layers: tuple[int, ...] = (64,)
    value_layers: tuple[int, ...] = (64,)
    activation: str = "tanh"

    def __post_init__(self) -> None:
        for name in ("policy_layers", "value_layers"):
            layers = getattr(self, name)
            if not isinstance(layers, tuple | list) or not all(
                isinstance(width, int) and not isinstance(width, bool) and width > 0 for width in layers
            ):
                raise ValueError(f"{name} must be integers of at least 1, received {layers!r}.")
            object.__setattr__(self, name, tuple(layers))
        if self.rollout_steps is not None:
            _whole(self, 1, "rollout_steps")
        _whole(self, 1, "lifetimes_per_batch", "epochs")
        _number(self, 0.0, INFINITY, "learning_rate", "clip_range", "gradient_clip", open_below=True)
        _number(self, 0.0, 1.0, "final_learning_rate", "discount", "gae_lambda")
        _number(self, 0.0, INFINITY, "entropy", "value")
        if self.activation not in ("tanh", "relu"):
            raise ValueError(f"activation must be 'tanh' or 'relu', received {self.activation!r}.")


@dataclass(frozen=True, kw_only=True)
class RecurrentPPOConfig(PPOConfig):
    """sb3-contrib's recurrent PPO; the fields of `PPOConfig`, and of its LSTM.

    Attributes:
        hidden_size: units of the LSTM [lstm_hidden_size].
        forget_bias: added to the forget gate's bias at the start, so that the LSTM remembers before it has learnt to.
    """

    learning_rate: float = 3e-3
    policy_layers: tuple[int, ...] = ()
    value_layers: tuple[int, ...] = (32,)
    hidden_size: int = 48
    forget_bias: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _whole(self, 1, "hidden_size")
        _number(self, -INFINITY, INFINITY, "forget_bias")


@dataclass(frozen=True, kw_only=True)
class RL2Config:
    """RL2: recurrent PPO over whole lifetimes.

    Attributes:
        hidden_size: units of the GRU.
        encoder_size: units of a dense layer between the observation and the GRU; 0 for none.
        gated: read actions and values off the memory and, beside it, the memory times a gate that looks at the
            observation.
        previous: show the observation before the present one as well.
        memory_heads: matrices of a keyed memory beside the GRU, which stores what belongs to an item under a key that
            is computed from what is seen; needs an encoder and ``previous``. 0 for none.
        memory_layers: keyed memories one behind the other: from the second on, things are looked up by what the ones
            before recalled.
        memory_keys: numbers of a key.
        memory_contents: numbers of what is stored under it.
        memory_units: units of a GRU in front of the keyed memory, or that of places, which says what to store, and
            under which keys; 0 for none.
        memory_products: keys are products of two maps, which tell pairs of things apart.
        memory_parts: names of the parts of the observation that keys come from at first; none for all of it.
        episodic: clear the GRUs one step after every episode's start, so that only what is in the keyed memory, or
            that of places, lasts longer.
        places: two parts of the observation that tell, one-hot, in which column and in which row of a grid one is; the
            network then keeps a content for every place, and sees that of the present place and of its neighbours.
            With ``place_width``, a part that tells which of four ways one looks, clockwise, and one that tells what is
            there. None for no such memory.
        place_width: columns and rows of a grid in the middle of which every episode begins, and on which action 0 steps
            ahead: places are reckoned from the steps taken; 0 where ``places`` tells them.
        place_ahead: which number of the second part is positive where something bars the way ahead.
        place_contents: numbers kept for every place.
        place_plans: plan the best ways over the places to eight kinds of targets, which are learnt, by values that
            spread from place to place.
        slots: two parts of the observation that list things, with how many things each lists, as in (("stones", 3),
            ("potions", 12)), where an action puts one of the first and one of the second together; actions are then
            scored by pairs; it needs an encoder and ``previous``. Nothing for other actions.
        items: how many items the observation says the same of, such as arms or switches; the network then has a state
            for each and one for all, and shares its weights among the items. 0 for other observations.
        item_parts: names of the parts of the observation whose numbers belong to the items, as many to each.
        item_actions: the first of the actions that each name an item, in their order; -1 if none does.
        item_units: units of an item's state.
        item_layers: such networks one behind the other: each is shown what the one before has concluded.
        hub_layers: dense layers before every recurrent state that all items share, 0 or 1.
        update_bias: of the GRU's update gate at the start: above 0 it keeps its state before it has learnt to.
        rollout_steps: steps each lane takes between two updates, through all of which gradients flow; the state is
            carried on. None for whole lifetimes.
        lifetimes_per_batch: lanes in a minibatch.
        batches_per_update: minibatches in a pass over a rollout; lanes are the product of the two.
        epochs: passes over every rollout.
        learning_rate: of Adam, after the warm-up.
        warmup_updates: updates over which the learning rate rises at the start.
        final_learning_rate: fraction of ``learning_rate`` left at the end; it falls linearly.
        discount: of the reward per step.
        gae_lambda: mixes the value's estimate (0) with the returns seen (1) in the advantages.
        clip_range: how far an update may move an action's probability ratio from 1.
        entropy: weight of the entropy bonus at the start; it falls linearly.
        entropy_until: share of the run at which the bonus reaches 0; at 0 it stays as it is.
        value: weight of the value's squared error in the loss.
        value_size: hidden units of the value's head.
        gradient_clip: longest gradient of one step.
        normalize: of the value's targets: by running mean and deviation per ``step`` of the lifetime, of ``all`` steps
            together, or ``none``.
        masked: choose only among the actions that the observation says are offered.
        auxiliary: weight of a loss that predicts the oracle's action; privileged, and labelled so in the checkpoint.
        belief: weight of a loss that predicts the hidden task from the memory; privileged, and labelled so, too.
        imitate: share of the run, from its beginning, in which the policy learns to predict a hand-made learner, before
            it learns from reward; the checkpoint says so.
        teacher: the learner that is imitated, by name; ``reference`` is the family's reference learner.
        teacher_share: of the lanes in which the teacher still acts when imitation ends; at 1 it is behavioural cloning.
        first_share: share of the run, from its beginning, in which other lifetimes are lived: ``first_stages``.
        alone_share: share of the run, from its beginning, in which the first stage of the course is lived alone, before
            ``first_stages``.
        first_stages: a level and a number of episodes for each of their stages, as in ((1, 5), (3, 8)); none for the
            first stage of the course alone.
        initial: folder of a checkpoint to take the first weights from.
        std: standard deviation of continuous actions at the start.
    """

    hidden_size: int = 64
    encoder_size: int = 0
    gated: bool = False
    previous: bool = False
    memory_heads: int = 0
    memory_layers: int = 1
    memory_keys: int = 32
    memory_contents: int = 16
    memory_units: int = 0
    memory_products: bool = False
    memory_parts: tuple[str, ...] = ()
    episodic: bool = False
    places: tuple[str, ...] = ()
    place_width: int = 0
    place_ahead: int = 0
    place_contents: int = 16
    place_plans: bool = False
    slots: tuple[tuple[str, int], ...] = ()
    items: int = 0
    item_parts: tuple[str, ...] = ()
    item_actions: int = -1
    item_units: int = 32
    item_layers: int = 1
    hub_layers: int = 0
    update_bias: float = 1.0
    rollout_steps: int | None = 100
    lifetimes_per_batch: int = 64
    batches_per_update: int = 8
    epochs: int = 2
    learning_rate: float = 2e-3
    warmup_updates: int = 5
    final_learning_rate: float = 0.02
    discount: float = 0.99
    gae_lambda: float = 0.8
    clip_range: float = 0.2
    entropy: float = 0.02
    entropy_until: float = 0.8
    value: float = 0.5
    value_size: int = 64
    gradient_clip: float = 0.5
    normalize: str = "step"
    masked: bool = True
    auxiliary: float = 0.0
    belief: float = 0.0
    imitate: float = 0.0
    teacher: str = "reference"
    teacher_share: float = 0.0
    first_share: float = 0.0
    alone_share: float = 0.0
    first_stages: tuple[tuple[int, int], ...] = ()
    initial: str | None = None
    std: float = 0.5

    def __post_init__(self) -> None:
        if self.rollout_steps is not None:
            _whole(self, 1, "rollout_steps")
        _whole(self, 1, "hidden_size", "lifetimes_per_batch", "batches_per_update", "epochs", "value_size")
        _whole(self, 1, "memory_layers", "memory_keys", "memory_contents")
        _whole(self, 0, "encoder_size", "warmup_updates", "memory_heads", "memory_units")
        if self.memory_heads:
            self._check_sees_back(f"memory_heads={self.memory_heads} needs")
        if not isinstance(self.memory_parts, tuple | list) or not all(isinstance(x, str) for x in self.memory_parts):
            raise ValueError(f"memory_parts must be names of parts of the observation, received {self.memory_parts!r}.")
        object.__setattr__(self, "memory_parts", tuple(self.memory_parts))
        further = ["memory_layers", "memory_products", "memory_parts"]
        if not self.places:
            further += ["memory_units", "episodic"]
        if not self.memory_heads and any(getattr(self, name) != getattr(RL2Config, name) for name in further):
            told = ", ".join(f"{name}={getattr(self, name)}" for name in further)
            raise ValueError(f"{told} belong to a keyed memory, received memory_heads=0.")
        self._check_places()
        if self.slots:
            self._check_slots()
        self._check_items()
        _number(self, 0.0, INFINITY, "learning_rate", "clip_range", "gradient_clip", "std", open_below=True)
        _number(self, 0.0, 1.0, "final_learning_rate", "discount", "gae_lambda", "entropy_until", "imitate")
        _number(self, 0.0, 1.0, "teacher_share", "first_share", "alone_share")
        if self.alone_share and not (self.first_stages and self.alone_share < self.first_share):
            raise ValueError(
                f"alone_share={self.alone_share} comes before first_stages: it must be below first_share, received "
                f"first_share={self.first_share} and first_stages={self.first_stages}."
            )
        if not isinstance(self.first_stages, tuple | list) or not all(map(_is_stage, self.first_stages)):
            raise ValueError(
                "first_stages must be pairs of a level, from 0 on, and a number of episodes, at least 1, received "
                f"{self.first_stages!r}."
            )
        object.__setattr__(self, "first_stages", tuple(map(tuple, self.first_stages)))
        _number(self, 0.0, INFINITY, "entropy", "value", "auxiliary", "belief")
        _number(self, -INFINITY, INFINITY, "update_bias")
        if self.normalize not in ("step", "all", "none"):
            raise ValueError(f"normalize must be one of 'step', 'all', 'none', received {self.normalize!r}.")
        for name in ("masked", "gated", "previous", "memory_products", "episodic", "place_plans"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, received {getattr(self, name)!r}.")
        if not isinstance(self.teacher, str):
            raise ValueError(f"teacher must be an agent's name, received {self.teacher!r}.")
        if self.initial is not None and not isinstance(self.initial, str):
            raise ValueError(f"initial must be a folder or None, received {self.initial!r}.")

    def _check_sees_back(self, told: str) -> None:
        """Refuse a memory that is not shown what it reads; ``told`` begins the message."""
        if not (self.encoder_size and self.previous):
            raise ValueError(
                f"{told} an encoder_size of at least 1 and previous=True, received "
                f"encoder_size={self.encoder_size} and previous={self.previous}."
            )

    def _check_places(self) -> None:
        _whole(self, 0, "place_width", "place_ahead")
        _whole(self, 1, "place_contents")
        names = self.places
        if (
            not isinstance(names, tuple | list)
            or len(names) not in (0, 2)
            or not all(isinstance(x, str) for x in names)
        ):
            raise ValueError(f"places must be names of two parts of the observation, or none, received {names!r}.")
        object.__setattr__(self, "places", tuple(names))
        given = {name: getattr(self, name) for name in ("place_width", "place_ahead", "place_plans")}
        if not names and any(given.values()):
            raise ValueError(f"{', '.join(given)} belong to places, received {given} and places=().")
        if names:
            self._check_sees_back("places need")

    def _check_items(self) -> None:
        _whole(self, 0, "items")
        _whole(self, -1, "item_actions")
        _whole(self, 1, "item_units", "item_layers")
        if self.hub_layers not in (0, 1) or isinstance(self.hub_layers, bool):
            raise ValueError(f"hub_layers must be 0 or 1, received {self.hub_layers!r}.")
        if not isinstance(self.item_parts, tuple | list) or not all(isinstance(x, str) for x in self.item_parts):
            raise ValueError(f"item_parts must be names of parts of the observation, received {self.item_parts!r}.")
        object.__setattr__(self, "item_parts", tuple(self.item_parts))
        if not self.items:
            given = [
                name
                for name in ("item_parts", "item_actions", "item_layers", "hub_layers")
                if getattr(self, name) != getattr(RL2Config, name)
            ]
            if given:
                raise ValueError(f"{given[0]}={getattr(self, given[0])!r} belongs to items, received items=0.")
            return
        if not self.item_parts and self.item_actions < 0:
            raise ValueError(f"items={self.items} need item_parts or item_actions, by which they can be told apart.")
        others = {name: getattr(self, name) for name in ("gated", "memory_heads", "episodic", "places", "slots")}
        if any(others.values()) or not self.encoder_size:
            told = ", ".join(f"{name}={value!r}" for name, value in others.items())
            raise ValueError(
                "items are a network of their own, with an encoder_size of at least 1 and without gated, memory_heads, "
                f"episodic, places and slots; received encoder_size={self.encoder_size}, {told}."
            )

    def _check_slots(self) -> None:
        good = isinstance(self.slots, tuple | list) and len(self.slots) == 2
        for pair in self.slots if good else ():
            good = good and isinstance(pair, tuple | list) and len(pair) == 2
            good = good and isinstance(pair[0], str) and type(pair[1]) is int and pair[1] >= 1
        if not good:
            raise ValueError(
                "slots must be two parts of the observation with how many things each lists, as in (('stones', 3), "
                f"('potions', 12)), received {self.slots!r}."
            )
        object.__setattr__(self, "slots", tuple(map(tuple, self.slots)))
        self._check_sees_back("slots need")


def field_names(config_class: Any) -> tuple[str, ...]:
    """The names of a config's fields."""
    return tuple(field.name for field in fields(config_class))


def field_sentences(config_class: Any) -> dict[str, str]:
    """What each field of a config means: the sentences under ``Attributes`` in its docstring and its bases'."""
    sentences: dict[str, str] = {}
    for one in reversed(config_class.__mro__):
        name = ""
        _, _, block = (one.__doc__ or "").partition("Attributes:\n")
        for line in block.splitlines():
            if line.startswith("        ") and not line.startswith("         ") and ":" in line:
                name, _, text = line.strip().partition(": ")
                sentences[name] = text
            elif name and line.strip():
                sentences[name] += " " + line.strip()
    return {name: sentences.get(name, "") for name in field_names(config_class)}


def options_table(*algorithms: tuple[str, Any]) -> str:
    """The options of one or more algorithms as a table in Markdown.

    Args:
        algorithms: names and config classes, the most general first: an option is explained in the words of the last.

    Returns:
        A row per option: its name, its default with each algorithm (``-`` where it has no such option) and its meaning.
    """
    sentences: dict[str, str] = {}
    for _, config_class in algorithms:
        sentences |= field_sentences(config_class)
    defaults = [{field.name: field.default for field in fields(one)} for _, one in algorithms]
    names = [name for name, _ in algorithms]
    lines = [f"| option | {' | '.join(names)} | meaning |", "|---" * (len(names) + 2) + "|"]
    for name, sentence in sentences.items():
        shown = [_shown(one[name]) if name in one else "-" for one in defaults]
        lines.append(f"| `{name}` | {' | '.join(shown)} | {sentence.replace('``', '`')} |")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    """A default as tables print it."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)
