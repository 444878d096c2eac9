"""Lifetimes as text: the same lifetimes, in words, whatever is replied."""

import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import daytwo
from daytwo.integrations.text import Lengths, TextLifetime, as_table, main, measure
from daytwo.lifetime import LifetimeEnv
from daytwo.narration import Unparsed
from tests.toy import Counting, Phases, Steering

IDS = daytwo.env_ids()
DOCS = Path(__file__).resolve().parents[2] / "docs" / "text.md"
TOY = {"compiled": False, "episodes": 2}
GARBAGE = ("", "no idea", "ACTION: fly", "☃" * 50, "ACTION: 10**9", "x" * 1_000_000)


def documented() -> dict[str, list[int]]:
    """The table of lengths in the documentation: the numbers of every environment."""
    rows = re.findall(r"^\| (daytwo/[\w-]+) \| (.*) \|$", DOCS.read_text(), re.MULTILINE)
    return {env_id: [int(number) for number in numbers.split(" | ")] for env_id, numbers in rows}


def live(life: TextLifetime, choose) -> tuple[float, list[dict]]:
    """Live a lifetime; ``choose(life)`` gives the replies. The total reward and all infos."""
    total, infos, over = 0.0, [], False
    while not over:
        _, reward, over, info = life.step(choose(life))
        total += reward
        infos.append(info)
        assert len(infos) < 50_000, "the lifetime does not end"
    return total, infos


def chooser(seed: int, form: str = "ACTION: {}"):
    rng = np.random.default_rng(seed)
    return lambda life: form.format((words := life.actions())[rng.integers(len(words))])


@pytest.mark.parametrize("rename", [True, False])
@pytest.mark.parametrize("env_id", IDS)
def test_an_agent_of_words_lives_the_same_lifetime_as_one_of_numbers(env_id, rename):
    settings = {"episodes": 1, "compiled": False}
    life = TextLifetime(env_id, 11, rename=rename, **settings)
    texts = [life.reset()]
    total, infos = live(life, chooser(0))
    texts += [text for text, _, _ in life.transcript[1:]]

    env = LifetimeEnv(env_id, **settings)
    row, _ = env.reset(seed=11)
    lived, over = 0.0, False
    for info in infos:
        assert not over and info["unparsed"] == 0
        assert info["parsed"] is info["action"]
        row, reward, over, _, plain = env.step(info["parsed"])
        lived += reward
        assert set(info) == set(plain) | {"parsed", "action", "unparsed"}
        assert info["raw_reward"] == plain["raw_reward"]
        assert info.get("improvement") == plain.get("improvement")
    assert over and total == lived
    assert (life.row == row).all() and life.actions() == []
    assert len(life.transcript) == len(infos)

    levels = {stage.level for stage in life.env.course.stages}
    assert sum("Answers: " in text for text in texts) == len(levels)  # the rules, once for each level
    longest = documented()[env_id][-1]
    for text in texts:
        observation = text.partition("\n")[2] if "Answers: " in text else text
        assert not re.search(r"[{}]|\bNone\b|\bnan\b|\binf\b|array", text)
        assert 0 < len(observation) <= (longest if rename else 350)


@pytest.mark.parametrize("env_id", IDS)
def test_an_agent_that_writes_garbage_acts_at_random(env_id):
    """The same garbage, the same lifetime; one step for every three replies, with actions that are offered."""

    def lifetime():
        life = TextLifetime(env_id, 5, episodes=1, compiled=False)
        life.reset()
        rows, infos = [], []
        for k in range(30):
            mask = life.narrator.offered(life.narrator.level(life.row), life.row)
            text, reward, over, info = life.step(GARBAGE[k % 3])
            infos.append(info)
            rows.append(life.row)
            assert info["parsed"] is None and info["unparsed"] == k + 1
            assert text.startswith("Expected a line 'ACTION: ' with ")
            if k % 3 < 2:
                assert reward == 0.0 and not over and info["action"] is None and info["raw_reward"] == 0.0
            else:
                assert life.env.family.continuous or mask[info["action"]]
                assert "In its place, " in text
            if over:
                break
        return np.array(rows), [str(info["action"]) for info in infos]

    first, second = lifetime(), lifetime()
    assert (first[0] == second[0]).all() and first[1] == second[1]
    assert (first[0][0] == first[0][1]).all()


def test_every_offered_action_takes_the_place_of_garbage_equally_often():
    life = TextLifetime("daytwo/DarkRoom-v0", 0, retries=0, episodes=2)
    life.reset()
    taken = np.bincount([info["action"] for info in live(life, lambda life: "?")[1]], minlength=5)
    assert taken.sum() > 150
    assert (np.abs(taken / taken.sum() - 0.2) < 0.1).all()


@pytest.mark.parametrize("garbage", GARBAGE)
def test_the_same_text_is_asked_again_below_one_line(garbage):
    life = TextLifetime(Counting, 0, **TOY)
    before = life.reset()
    row = life.row
    for unparsed in (1, 2):
        text, reward, over, info = life.step(garbage)
        line, _, rest = text.partition("\n")
        assert rest == before and line.startswith("Expected a line") and len(line) < 200
        assert (reward, over, info["unparsed"], info["parsed"]) == (0.0, False, unparsed, None)
        assert "episode_return" not in info and life.row is row
    text, *_, info = life.step(garbage)
    assert info["unparsed"] == 3 and info["action"] in (0, 1)
    assert life.row is not row
    life.step(garbage)
    _, _, _, info = life.step(f"ACTION: {life.actions()[0]}")
    assert info["unparsed"] == 4 and info["parsed"] is not None


def test_retries_begin_anew_at_every_step():
    life = TextLifetime(Counting, 0, retries=1, **TOY)
    life.reset()
    acted = [life.step(reply)[3]["action"] is not None for reply in ("?", "1", "?", "1", "?", "?")]
    assert acted == [False, True, False, True, False, True]


def test_what_cannot_be_parsed_may_raise():
    life = TextLifetime(Counting, 0, retries=1, on_unparsed="raise", **TOY)
    life.reset()
    row = life.row
    life.step("?")
    with pytest.raises(Unparsed, match="received '\\?'"):
        life.step("?")
    assert life.row is row and len(life.transcript) == 2
    assert life.step(life.actions()[0])[3]["unparsed"] == 2


def test_the_last_of_two_actions_is_taken():
    life = TextLifetime("daytwo/DarkRoom-v0", 0, rename=False, episodes=1, compiled=False)
    life.reset()
    assert life.step("ACTION: up\nACTION: down")[3]["parsed"] == 2


def test_a_lifetime_can_be_lived_again_and_others_after_it():
    life = TextLifetime("daytwo/Bandit-v0", 1, episodes=1, compiled=False)
    first = life.reset()
    total, _ = live(life, chooser(3))
    transcript = life.transcript
    assert life.reset() == first and life.transcript == []
    assert live(life, chooser(3))[0] == total and life.transcript == transcript
    assert life.reset(seed=2) != first
    other = TextLifetime("daytwo/Bandit-v0", 2, episodes=1, compiled=False)
    assert other.reset() == life.reset()
    assert other.narrator.words == life.narrator.words


def test_the_transcript_holds_what_was_said_replied_and_paid():
    life = TextLifetime(Counting, 0, **TOY)
    said = [life.reset()]
    paid = []
    for reply in ("?", "0", "1"):
        text, reward, _, _ = life.step(reply)
        said.append(text)
        paid.append(reward)
    assert life.transcript == list(zip(said, ("?", "0", "1"), paid, strict=False))


def test_the_rules_come_when_the_level_changes_and_the_end_is_said():
    life = TextLifetime(Counting, 0, **TOY)
    texts = [life.reset()]
    over = False
    while not over:
        text, _, over, _ = life.step(life.actions()[0])
        texts.append(text)
    rules = [k for k, text in enumerate(texts) if "Answers: " in text]
    assert len(rules) == 3
    assert all("A new episode begins, level" in texts[k].partition("\n")[2] for k in rules)
    assert texts[-1].endswith("Your lifetime is over.")
    with pytest.raises(gymnasium.error.ResetNeeded):
        life.step("0")


def test_only_what_a_phase_offers_can_be_answered():
    life = TextLifetime(Phases, 0, rename=False, course="single", level=1, **TOY)
    life.reset()
    assert life.actions() == ["wait"] or life.actions() == ["wait", "quit"]
    assert life.step("score")[3]["parsed"] is None


def test_a_step_comes_before_its_reset_only_in_errors():
    life = TextLifetime(Counting, 0, **TOY)
    assert life.actions() == []
    with pytest.raises(gymnasium.error.ResetNeeded):
        life.step("0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": "0"}, "seed"),
        ({"retries": -1}, "retries"),
        ({"on_unparsed": "noop"}, "on_unparsed must be 'random' or 'raise'"),
        ({"rename": "yes"}, "rename must be True or False"),
        ({"privileged": True}, "never tell the hidden task"),
        ({"observation": "dict"}, "observation='flat'"),
        ({"show": ("time",)}, "add 'level' to show="),
        ({"arms": 3}, "Unknown setting 'arms'"),
        ({"env_id": "daytwo/Mixture-v0"}, "no single family"),
        ({"env_id": "daytwo/Nowhere-v0"}, "Unknown environment"),
    ],
)
def test_unfit_arguments_are_refused(arguments, message):
    given = {"env_id": "daytwo/DarkRoom-v0", "seed": 0, **arguments}
    with pytest.raises(ValueError, match=message):
        TextLifetime(given.pop("env_id"), given.pop("seed"), **given)


def test_continuous_lifetimes_are_lived_with_numbers():
    reference_returns = daytwo.calibration.ReferenceReturns.given(0.0, 3.0)
    life = TextLifetime(Steering, 0, compiled=False, reference_returns=reference_returns)
    life.reset()
    _, _, _, info = life.step("ACTION: 0.5, -0.25")
    np.testing.assert_array_equal(info["parsed"], np.float32([0.5, -0.25]))
    assert "action_mask" not in info
    life.step("?")


# --- the documentation --------------------------------------------------------------------------------------------


def test_the_documented_figures_are_those_of_the_command():
    """All of them for one family, and for every family those that come from no lived lifetime."""
    table = documented()
    assert list(table) == list(IDS)
    for env_id, numbers in table.items():
        life = TextLifetime(env_id, 0, compiled=False)
        rules = max(len(life.narrator.rules(level)) for level in range(len(life.env.family.levels)))
        assert numbers[:2] == [life.env.lifetime_spec.steps, len(life.narrator.words)]
        assert rules <= numbers[2]
    assert as_table([measure(IDS[0])]).splitlines()[-1] in DOCS.read_text()


def test_the_documented_python_runs_as_it_stands(tmp_path):
    text = DOCS.read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    printed = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == len(printed) == 2
    assert len(blocks[0].strip().splitlines()) <= 10
    for block, expected in zip(blocks, printed, strict=True):
        run = subprocess.run(
            [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
        )
        assert run.returncode == 0, run.stderr
        assert run.stdout == expected


def test_lengths_are_those_of_the_texts(capsys):
    lengths = measure(Counting, lifetimes=1, **TOY)
    assert isinstance(lengths, Lengths) and lengths.symbols == 3
    assert 0 < lengths.mean <= lengths.usual <= lengths.longest < lengths.rules
    main(["daytwo/Bandit-v0", "--lifetimes", "1", "--plain"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("| daytwo/Bandit-v0 | 600 | 0 |")
    main(["daytwo/Bandit-v0", "--transcript", "--steps", "2"])
    assert capsys.readouterr().out.count("> ACTION: arm ") == 2
