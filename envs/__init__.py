"""The task families, one file each. Import them as ``daytwo.envs``."""

if __name__ != "daytwo.envs":
    raise ImportError(
        f"The folder envs/ is the package daytwo.envs, but was imported as {__name__!r}: "
        "write 'import daytwo.envs'. A second copy of its classes would equal none of the first."
    )

from daytwo.registration import register

register("daytwo.envs.bandit:Bandit", env_id="daytwo/Bandit-v0")
register("daytwo.envs.tabular_mdp:TabularMDP", env_id="daytwo/TabularMDP-v0")
register("daytwo.envs.dark_room:DarkRoom", env_id="daytwo/DarkRoom-v0")
