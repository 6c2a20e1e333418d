"""`headrace fit`: writes, checks, and says what is missing in one sentence."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.main import main
from loadtest.fit.files import differences, render
from loadtest.fit.sources import CLOCK_FILES, OPERATORS_FILE, RUNS_FILE, DataError, read_data
from loadtest.models import ACCELERATORS, CLOCKS, accelerator_file, clock_file, file_name
from loadtest.models import __file__ as models_file

COMMITTED = Path(models_file).parent
DATA = Path(os.environ.get("HEADRACE_DATA") or Path(__file__).parents[3] / "shared" / "data")
NAMES = {*map(file_name, ACCELERATORS), CLOCKS}


@pytest.fixture
def data():
    if not (DATA / RUNS_FILE).exists():
        pytest.skip(f"the parameter files are NOT refitted: no {DATA / RUNS_FILE}")
    return DATA


@pytest.fixture
def small_data(tmp_path):
    """Two rows of each file, in the form of the real ones."""
    directory = tmp_path / "data"
    texts = {
        RUNS_FILE: (
            "task,model,gpu,num_gpus,max_num_seqs,avg_batch,avg_output_len,power_w,tok_s,itl_med_ms\n"
            "lm-arena-chat,m,H100,1,8,7.99,400,480,1000,7.3\n"
            "lm-arena-chat,m,H100,1,64,60,400,600,5000,11.5\n"
        ),
        OPERATORS_FILE: (
            "gpu,model,phase,batch,tokens,ms\nh100_sxm,m,decode,1,256,6.1\n"
            "h100_sxm,m,prefill,1,128,5.5\n"
        ),
    }
    header, row = "stage,instruction,frequency,time,energy", "0,forward,1410,0.05,24"
    passes = f"{header}\n{row}\n{row.replace('forward', 'backward')}\n"
    texts |= dict.fromkeys(CLOCK_FILES.values(), passes)
    for name, text in texts.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text, encoding="utf-8")
    return directory


def test_the_committed_files_are_what_a_refit_gives(data, capsys):
    assert main(["fit", "--data", str(data), "--check"]) == 0
    told = capsys.readouterr()
    assert told.out.count("as refitted") == len(NAMES)
    assert "fitting H100: engine calibration" in told.err


def test_a_refit_writes_every_file_into_a_folder_that_it_makes(data, tmp_path):
    assert main(["fit", "--data", str(data), "--out", str(tmp_path / "models")]) == 0
    written = {path.name: path.read_text("utf-8") for path in (tmp_path / "models").iterdir()}
    assert written.keys() == NAMES
    for name, text in written.items():
        committed = json.loads((COMMITTED / name).read_text("utf-8"))
        assert list(differences(committed, json.loads(text))) == []


def test_a_changed_parameter_fails_the_check_and_is_named(data, tmp_path, capsys):
    out = tmp_path / "models"
    out.mkdir()
    for name in NAMES:
        shutil.copy(COMMITTED / name, out)
    path = out / file_name("H100")
    content = json.loads(path.read_text("utf-8"))
    content["calibration"]["gamma"] *= 1.05
    path.write_text(json.dumps(content), encoding="utf-8")
    assert main(["fit", "--data", str(data), "--out", str(out), "--check"]) == 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if "calibration.gamma" in line]
    assert line.startswith(f"{path}: ")


def test_a_missing_file_is_one_sentence_and_exit_2(data, tmp_path, capsys):
    assert main(["fit", "--data", str(data), "--out", str(tmp_path), "--check"]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"{tmp_path / file_name('A100')}: cannot be read: No such file or directory."


def test_missing_data_is_one_sentence_and_exit_2(tmp_path, capsys):
    absent = tmp_path / "absent"
    assert main(["fit", "--data", str(absent)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert str(absent) in line
    assert "HEADRACE_DATA" in line


def test_a_missing_data_set_is_named(small_data):
    (small_data / OPERATORS_FILE).unlink()
    with pytest.raises(DataError, match=r"iteration_ms\.csv: cannot be read"):
        read_data(small_data)


def test_a_run_counts_at_its_limit_only_where_it_kept_it_full(small_data):
    data = read_data(small_data)
    assert [run.batch for run in data.runs] == [8.0, 60.0]
    assert data.runs[0].step_seconds == pytest.approx(7.99e-3)
    assert [len(passes) for passes in data.sweeps.values()] == [1, 1]
    assert len(data.files) == 4


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        (RUNS_FILE, "power_w", "watts", r"llm_runs\.csv: has no column power_w"),
        (RUNS_FILE, ",480,", ",-480,", r"llm_runs\.csv, line 2: power_w must be positive"),
        (RUNS_FILE, ",600,", ",nan,", r"llm_runs\.csv, line 3: power_w must be positive"),
        (OPERATORS_FILE, ",6.1", ",fast", r"iteration_ms\.csv, line 2: could not convert"),
        (OPERATORS_FILE, "\nh100_sxm,m,decode,1,256,6.1\nh100_sxm,m,prefill,1,128,5.5", "", "rows"),
    ],
)
def test_a_wrong_row_is_named_with_file_and_line(small_data, name, old, new, sentence):
    path = small_data / name
    path.write_text(path.read_text("utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(DataError, match=sentence):
        read_data(small_data)


def test_the_committed_text_is_what_its_content_is_written_as():
    for name in ACCELERATORS:
        text = (COMMITTED / file_name(name)).read_text("utf-8")
        assert render(accelerator_file(name)) == text
    assert render(clock_file()) == (COMMITTED / CLOCKS).read_text("utf-8")


def test_a_refit_may_differ_by_less_than_the_tolerance_and_not_in_words():
    committed = {"a": [1.0, 2.0], "errors": {"e": 0.0001}, "method": "x"}
    near = {"a": [1.001, 2.0], "errors": {"e": 0.0009}, "method": "x"}
    assert list(differences({"b": committed}, {"b": near})) == []
    far = {"a": [1.1], "errors": {"e": 0.1}, "method": "y", "more": 1}
    assert [text.split(":")[0] for text in differences({"b": committed}, {"b": far})] == [
        "b.a",
        "b.errors.e",
        "b.method",
        "b.more",
    ]


def test_what_serves_and_demonstrates_needs_no_numpy():
    code = (
        "import sys, headrace.serve, headrace.demo.command, headrace.fit, loadtest.truth;"
        "loadtest.truth.truth_of('H100'); print(sorted({'numpy', 'scipy'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert result.stdout.strip() == "[]"
