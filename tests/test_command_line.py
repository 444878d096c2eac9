"""The ``daytwo`` command does what its help says, and mistakes end in one line and status 2."""

import pytest

from daytwo import command_line
from daytwo.command_line import parse_settings

COMMANDS = (
    "list",
    "play",
    "benchmark",
    "evaluate",
    "train",
    "report",
    "render",
    "speed",
    "calibrate",
    "tune",
    "curriculum",
    "export",
)
BANDIT = ("daytwo/Bandit-v0", "arms=2", "pulls=10", "course=single", "episodes=2")


def run(monkeypatch, capsys, *words):
    """Run the command in this process; returns (status, standard output, standard error)."""
    monkeypatch.setattr("sys.argv", ["daytwo", *words])
    monkeypatch.setenv("COLUMNS", "200")
    status = 0
    try:
        command_line.main()
    except SystemExit as stopped:
        status = stopped.code or 0
    out, err = capsys.readouterr()
    return status, out, err


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(monkeypatch, capsys, command):
    status, out, _ = run(monkeypatch, capsys, command, "--help")
    assert status == 0
    assert "Usage" in out
    assert len(out) > 200


def test_list_shows_every_environment_and_agent(monkeypatch, capsys):
    import daytwo

    status, out, _ = run(monkeypatch, capsys, "list")
    assert status == 0
    assert all(env_id in out for env_id in (*daytwo.env_ids(), "daytwo/Mixture-v0"))
    assert all(name in out.replace("\n", " ") for name in daytwo.agent_names())


def test_settings_are_python_values_or_text():
    assert parse_settings(["arms=5", "rate=0.5", "course=single", "dense=False", "show=('time','level')"]) == {
        "arms": 5,
        "rate": 0.5,
        "course": "single",
        "dense": False,
        "show": ("time", "level"),
    }


@pytest.mark.parametrize("words", [["arms"], ["=5"], ["a b=3"], ["arms=5", "arms=6"]])
def test_malformed_settings_are_refused(words):
    with pytest.raises(ValueError, match=r"NAME=VALUE|given twice"):
        parse_settings(words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("evaluate", "ucb1", "daytwo/Nowhere-v0"), "Unknown environment 'daytwo/Nowhere-v0'"),
        (("evaluate", "nobody", *BANDIT), "Unknown agent 'nobody'"),
        (("evaluate", "ucb1", "daytwo/Bandit-v0", "legs=4"), "Unknown setting 'legs'"),
        (("evaluate", "psrl", *BANDIT), "not meant for"),
        (("benchmark", "nonsense"), "Unknown protocol 'nonsense'"),
        (("benchmark", "quick", "--agents", "nobody"), "Unknown agent 'nobody'"),
        (("play", "daytwo/Bandit-v0", "course=sideways"), "Unknown course 'sideways'"),
        (("report", "there/is/no.sqlite"), "no.sqlite"),
        (("train", "alchemy", *BANDIT), "algorithm must be one of"),
    ],
)
def test_mistakes_end_in_one_line(monkeypatch, capsys, tmp_path, words, expected):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(monkeypatch, capsys, *words)
    assert status == 2
    assert expected in err
    assert "Traceback" not in err


def test_evaluate_prints_scores_with_the_twin(monkeypatch, capsys):
    status, out, _ = run(monkeypatch, capsys, "evaluate", "gittins", *BANDIT, "--lifetimes", "32")
    assert status == 0
    for word in ("area", "twin", "learning", "redrawn", "raw returns by episode, kept"):
        assert word in out


def test_a_benchmark_resumes_and_reports(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    words = ("benchmark", "adapt", "--families", "daytwo/Bandit-v0", "--agents", "random,greedy")
    words += ("--lifetimes", "8", "--jobs", "1")
    status, out, _ = run(monkeypatch, capsys, *words)
    assert status == 0
    assert "6 evaluations computed, 0 were stored already, 0 failed" in out
    status, out, _ = run(monkeypatch, capsys, *words)
    assert status == 0
    assert "0 evaluations computed, 6 were stored already, 0 failed" in out
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert "adapt-v1 with lifetimes=8" in out and "suite score" in out
    status, out, _ = run(monkeypatch, capsys, "report", "results.sqlite", "--out", "again.html")
    assert status == 0
    assert all((tmp_path / f"again.{kind}").exists() for kind in ("html", "csv", "json", "tex"))


def test_an_agent_that_crashes_is_reported_and_the_others_go_on(monkeypatch, capsys, tmp_path):
    (tmp_path / "crashing.py").write_text(
        "class Agent:\n    def begin(self, spec, seeds):\n        pass\n"
        "    def act(self, observations, fresh):\n        raise RuntimeError('no idea what to do')\n"
    )
    monkeypatch.chdir(tmp_path)
    words = ("benchmark", "adapt", "--families", "daytwo/Bandit-v0", "--agents", "random,crashing:Agent")
    status, out, err = run(monkeypatch, capsys, *words, "--lifetimes", "8", "--jobs", "1")
    assert status == 1
    assert "3 evaluations computed, 0 were stored already, 3 failed" in out and "no idea what to do" in err
    page = (tmp_path / "report.html").read_text()
    assert "3 evaluations failed" in page and "RuntimeError: no idea what to do" in page


def test_results_of_two_people_are_compared(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    for agent in ("gittins", "greedy"):
        words = ("benchmark", "adapt", "--families", "daytwo/Bandit-v0", "--agents", agent, "--lifetimes", "32")
        status, _, _ = run(monkeypatch, capsys, *words, "--jobs", "1", "--store", f"{agent}.sqlite")
        assert status == 0
    status, out, _ = run(monkeypatch, capsys, "report", "gittins.sqlite", "greedy.sqlite")
    assert status == 0 and "reference" in out and "greedy" in out and "not paired" not in out
