"""The task families, one file each. Import them as ``daytwo.envs``."""

if __name__ != "daytwo.envs":
    raise ImportError(
        f"The folder envs/ is the package daytwo.envs, but was imported as {__name__!r}: "
        "write 'import daytwo.envs'. A second copy of its classes would equal none of the first."
    )

from daytwo.registration import register, register_compound

register("daytwo.envs.bandit:Bandit", env_id="daytwo/Bandit-v0")
register("daytwo.envs.tabular_mdp:TabularMDP", env_id="daytwo/TabularMDP-v0")
register("daytwo.envs.dark_room:DarkRoom", env_id="daytwo/DarkRoom-v0")
register("daytwo.envs.maze:Maze", env_id="daytwo/Maze-v0")
register("daytwo.envs.learning_set:LearningSet", env_id="daytwo/LearningSet-v0")
register("daytwo.envs.alchemy:Alchemy", env_id="daytwo/Alchemy-v0")
register("daytwo.envs.textbook:Textbook", env_id="daytwo/Textbook-v0")
register("daytwo.envs.laboratory:Laboratory", env_id="daytwo/Laboratory-v0")
register("daytwo.envs.workplace:Workplace", env_id="daytwo/Workplace-v0")
register("daytwo.envs.point_robot:PointRobot", env_id="daytwo/PointRobot-v0")
register("daytwo.envs.cart_pole:CartPole", env_id="daytwo/CartPole-v0")
register_compound(
    "daytwo/Mixture-v0",
    entry_point="daytwo.envs.mixture:MixtureEnv",
    vector_entry_point="daytwo.envs.mixture:MixtureVectorEnv",
)


def harder_settings() -> list[tuple[str, dict]]:
    """The (id, settings) of every family under its `TaskFamily.harder` settings."""
    from daytwo.registration import env_ids, family_class

    own = [env_id for env_id in env_ids() if family_class(env_id).__module__.startswith(f"{__name__}.")]
    return [(env_id, dict(family_class(env_id).harder)) for env_id in own]


def standard_settings() -> list[tuple[str, dict]]:
    """The (id, settings) of the defaults and the published variants.

    Their reference returns ship with the package, as those of `harder_settings` do.
    """
    from daytwo.envs.cart_pole import GYMNASIUM
    from daytwo.envs.dark_room import DPT_ROOM, VARIBAD_GRID
    from daytwo.envs.learning_set import HARLOW
    from daytwo.envs.point_robot import MAML_2D, PEARL_SPARSE

    return [
        ("daytwo/Bandit-v0", {}),
        ("daytwo/Bandit-v0", {"arms": 5, "pulls": 10}),
        ("daytwo/Bandit-v0", {"arms": 10, "pulls": 10}),
        ("daytwo/Bandit-v0", {"arms": 5, "pulls": 100}),
        ("daytwo/Bandit-v0", {"arms": 10, "pulls": 100}),
        ("daytwo/Bandit-v0", {"kind": "gaussian"}),
        ("daytwo/Bandit-v0", {"kind": "dependent-uniform"}),
        ("daytwo/Bandit-v0", {"kind": "dependent-easy"}),
        ("daytwo/Bandit-v0", {"kind": "dependent-medium"}),
        ("daytwo/Bandit-v0", {"kind": "dependent-hard"}),
        ("daytwo/Bandit-v0", {"kind": "informative"}),
        ("daytwo/TabularMDP-v0", {}),
        ("daytwo/TabularMDP-v0", {"kind": "two-step"}),
        ("daytwo/DarkRoom-v0", {}),
        ("daytwo/DarkRoom-v0", DPT_ROOM),
        ("daytwo/DarkRoom-v0", VARIBAD_GRID),
        ("daytwo/Maze-v0", {}),
        ("daytwo/LearningSet-v0", {}),
        ("daytwo/LearningSet-v0", HARLOW),
        ("daytwo/Alchemy-v0", {}),
        ("daytwo/Alchemy-v0", {"rotation": "never"}),
        ("daytwo/Textbook-v0", {}),
        ("daytwo/Laboratory-v0", {}),
        ("daytwo/Workplace-v0", {}),
        ("daytwo/PointRobot-v0", {}),
        ("daytwo/PointRobot-v0", MAML_2D),
        ("daytwo/PointRobot-v0", PEARL_SPARSE),
        ("daytwo/CartPole-v0", {}),
        ("daytwo/CartPole-v0", {"control": "continuous"}),
        ("daytwo/CartPole-v0", GYMNASIUM),
    ]
