"""Traces and scenarios that cannot be used: one sentence with file and line, and exit code 2."""

import re

import pytest
import yaml

from headrace.main import main

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
FIRST = "2023-11-16 18:15:46.6805900,374,44\n"
SECOND = "2023-11-16 18:15:47.6805900,374,44\n"
BURSTGPT = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
SCENARIO = {
    "name": "own",
    "description": "one board",
    "backends": [{"accelerator": "H100", "replicas": 1}],
    "trace_file": "trace.csv",
    "loads_requests_per_second": [2],
    "warmup_seconds": 0,
    "window_seconds": 5,
    "arms": ["dispatch"],
}


def refusal(folder, capsys, *, trace=AZURE + FIRST + SECOND, **changes):
    """What is told of a scenario with this trace."""
    (folder / "trace.csv").write_text(trace, encoding="utf-8")
    path = folder / "own.yaml"
    fields = {key: value for key, value in (SCENARIO | changes).items() if value is not None}
    path.write_text(yaml.safe_dump(fields, sort_keys=False), encoding="utf-8")
    assert main(["simulate", str(path), "--seeds", "0"]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert told.endswith(".\n")
    return told.removeprefix(f"{folder}/").strip()


@pytest.mark.parametrize(
    ("trace", "sentence"),
    [
        ("TIMESTAMP,ContextTokens,Zeit\n" + FIRST, r"trace\.csv:1: the columns are .*no known"),
        (AZURE.replace("\n", ",Zeit\n"), r"trace\.csv:1: the columns are 'TIMESTAMP, .*, Zeit'"),
        (BURSTGPT.replace("Log", "Lag"), r"trace\.csv:1: the columns are .*no known format"),
        (AZURE + SECOND + FIRST, r"trace\.csv:3: the time is earlier than in the row before"),
        (AZURE + FIRST + FIRST, r"trace\.csv:3: repeats line 2 to the fraction of a millisecond"),
        (AZURE + FIRST + SECOND.replace("374", "-1"), r"trace\.csv:3: ContextTokens is '-1', it"),
        (AZURE + FIRST.replace(",44", ",-44"), r"trace\.csv:2: GeneratedTokens is '-44', it must"),
        (AZURE + FIRST.replace("2023", "soon"), r"trace\.csv:2: TIMESTAMP .* is not a time like"),
        (AZURE + FIRST.replace(",44", ""), r"trace\.csv:2: 2 fields, there must be 3"),
        (AZURE, r"trace\.csv: the trace has no requests; at least one is needed"),
        ("", r"trace\.csv: the first line is empty; it must be a header or a request"),
        (AZURE + FIRST, r"trace\.csv: the trace spans no time, so it has no rate to speed up"),
        (
            '{"timestamp": 0, "input_length": 5, "output_length": -5}\n',
            r"trace\.csv:1: is not a Mooncake request: ",
        ),
        (
            "at_seconds,requests_per_second\n0,1\n60,-1\n",
            r"trace\.csv:3: requests_per_second is '-1', it must be 0 and more",
        ),
        (
            "at_seconds,requests_per_second\n60,1\n60,1\n",
            r"trace\.csv:3: at_seconds is '60', it must be above that of the row before",
        ),
        ("at_seconds,requests_per_second\n", r"trace\.csv: the curve has 0 rows, 2 are needed"),
        (
            "at_seconds,requests_per_second\n0,0\n60,0\n",
            r"trace\.csv: the curve is 0 everywhere, so nothing arrives",
        ),
    ],
)
def test_a_trace_that_cannot_be_used_is_told_with_its_line(tmp_path, capsys, trace, sentence):
    assert re.match(sentence, refusal(tmp_path, capsys, trace=trace))


@pytest.mark.parametrize(
    ("changes", "place", "sentence"),
    [
        ({"power_cap_watts": 50}, "power_cap_watts:", "power_cap_watts: must be at least the 122"),
        ({"trace_file": "none.csv"}, "trace_file:", "trace_file: there is no file "),
        ({"speed": 3}, "speed:", "speed: is not a known field."),
        ({"arms": ["luck"]}, "arms:", "arms: must be among "),
        ({"window_seconds": -1}, "window_seconds:", "window_seconds: input should be greater "),
        (
            {"backends": [{"accelerator": "H100", "replicas": 0}]},
            "  replicas:",
            "backends.0.replicas: input should be greater than or equal to 1, got 0.",
        ),
        (
            {"backends": [{"accelerator": "H999", "replicas": 1}]},
            "backends:",
            "backends: there are no simulated physics: ",
        ),
    ],
)
def test_an_impossible_scenario_is_told_with_the_line_of_its_field(
    tmp_path, capsys, changes, place, sentence
):
    told = refusal(tmp_path, capsys, **changes)
    lines = (tmp_path / "own.yaml").read_text(encoding="utf-8").splitlines()
    [line] = [number for number, text in enumerate(lines, start=1) if text.startswith(place)]
    assert told.startswith(f"own.yaml:{line}: {sentence}")


def test_a_model_on_no_replica_is_told(tmp_path, capsys):
    backends = [{"accelerator": "H100", "replicas": 1, "models": ["llama-3.1-70b"]}]
    assert refusal(tmp_path, capsys, backends=backends) == (
        "own.yaml: model: 'llama-3.1-8b' is on no replica; the backends serve llama-3.1-70b."
    )


def test_what_a_flag_got_wrong_has_no_line(tmp_path, capsys):
    (tmp_path / "trace.csv").write_text(AZURE + FIRST + SECOND, encoding="utf-8")
    path = tmp_path / "own.yaml"
    path.write_text(
        yaml.safe_dump(
            SCENARIO | {"step": {"start_seconds": 0, "duration_seconds": 4, "factor": 2}}
        ),
        encoding="utf-8",
    )
    assert main(["simulate", str(path), "--window-seconds", "2"]) == 2
    assert re.match(
        re.escape(f"{path}:") + r"\d+: step: must end within the window of 2 s",
        capsys.readouterr().err,
    )


def test_without_the_data_the_fitted_generator_stands_in_and_the_output_says_so(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path / "none"))
    path = tmp_path / "own.yaml"
    fields = {k: v for k, v in SCENARIO.items() if k != "trace_file"} | {"trace": "azure-conv"}
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    assert main(["simulate", str(path), "--seeds", "0"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "azure-conv is NOT played: there is no" in told
    assert "(set HEADRACE_DATA); the generator that was fitted to it stands in." in told


def test_without_the_data_a_fit_says_what_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HEADRACE_DATA", str(tmp_path / "none"))
    assert main(["fit", "--check"]) == 2
    assert capsys.readouterr().err.startswith(f"{tmp_path / 'none'}: is not a directory; ")
