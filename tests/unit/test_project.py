"""The project's own rules: layers, pins, reasons for exceptions, the image's recipe."""

import importlib.metadata
import io
import json
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("capper", "fleet", "headrace", "loadtest", "router", "telemetry")
ONE_WAY = "imports run one way"
PURE = "the pure core does no I/O"
PROTOCOL = "deciding knows nothing of the protocol"
# Runtimes and types that belong to a declared dependency's own interface, at the version it asks
# for: sessions and adapters of prometheus-api-client, URLs of aiohttp, generated messages.
THROUGH = {
    "betterproto2": "envoy-data-plane",
    "protobuf": "xds-protos",
    "pydantic-core": "pydantic",
    "requests": "prometheus-api-client",
    "urllib3": "requests",
    "yarl": "aiohttp",
}


def project_files() -> list[Path]:
    """What git tracks or would track; ignored files are nobody's business."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return sorted({path for path in paths if path.is_file()})


def text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


def pyproject() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


# Layers


@pytest.fixture(scope="module")
def contracts(tmp_path_factory):
    """A copy of the packages in which one module may be broken, and what lint-imports says."""
    copy = tmp_path_factory.mktemp("layers")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, copy / package, ignore=ignored)

    def check(module: str | None = None, line: str = "") -> tuple[int, set[str]]:
        path = copy / f"{module}.py"
        intact = path.read_text(encoding="utf-8") if module else ""
        if module:
            path.write_text(f"{intact}\n{line}\n", encoding="utf-8")
        try:
            result = subprocess.run(
                [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
                cwd=copy,
                check=False,
                capture_output=True,
                text=True,
            )
        finally:
            if module:
                path.write_text(intact, encoding="utf-8")
        broken = set(re.findall(r"^(.*) BROKEN$", result.stdout, re.MULTILINE))
        return result.returncode, broken

    return check


def test_the_layers_hold(contracts):
    assert contracts() == (0, set())


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("fleet/units", "import time", PURE),
        ("fleet/physics", "import random", PURE),
        ("fleet/topology", "import telemetry.reading", ONE_WAY),
        ("telemetry/reading", "import router.decide.ledger", ONE_WAY),
        ("router/decide/picker", "import asyncio", PURE),
        ("router/decide/ledger", "import logging", PURE),
        ("router/decide/unit", "import router.extproc.events", PROTOCOL),
        ("router/decide/workload", "import telemetry.reading", PROTOCOL),
        ("router/extproc/session", "import grpc", PURE),
        ("router/admin", "import capper.decide", ONE_WAY),
        ("capper/__init__", "import router.decide.picker", ONE_WAY),
        ("capper/decide/__init__", "import os", PURE),
        ("loadtest/truth", "import headrace", ONE_WAY),
        ("router/metrics", "import headrace.service", ONE_WAY),
    ],
)
def test_an_import_against_the_layers_breaks_its_contract(contracts, module, line, contract):
    status, broken = contracts(module, line)
    assert status != 0
    assert any(name.startswith(contract) for name in broken), broken


# Dependencies


def declared() -> dict[str, Requirement]:
    """Everything that pyproject asks for, by canonical name."""
    project = pyproject()["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    requirements = [Requirement(text) for group in groups for text in group]
    return {canonicalize_name(one.name): one for one in requirements if one.name != "headrace"}


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_requirements_are_pins_and_comments_and_nothing_else():
    pin = re.compile(r"(#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+)?")
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not pin.fullmatch(line)] == []


def test_every_dependency_has_a_pin_that_satisfies_it():
    pinned = pins()
    unsatisfied = {
        name: pinned.get(name)
        for name, requirement in declared().items()
        if name not in pinned or not requirement.specifier.contains(pinned[name])
    }
    assert unsatisfied == {}


def test_what_dependencies_need_is_pinned_too():
    def needs(name: str, extras: frozenset[str]) -> Iterator[Requirement]:
        for text in importlib.metadata.requires(name) or ():
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": x}) for x in extras | {""}):
                yield requirement

    reached, waiting = set(), list(declared().values())
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in reached:
            reached.add(name)
            waiting.extend(needs(name, frozenset(requirement.extras)))
    assert reached - pins().keys() == set()


def test_every_imported_distribution_is_declared_or_part_of_one_that_is():
    names = importlib.metadata.packages_distributions()
    imported = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for match in re.finditer(r"^\s*(?:from|import) (\w+)", text_of(path), re.MULTILINE):
                owners = {canonicalize_name(name) for name in names.get(match.group(1), ())}
                if owners and not owners & declared().keys():
                    imported |= owners - {"headrace"}
    assert imported <= THROUGH.keys()
    for child, parent in THROUGH.items():
        required = {Requirement(text).name for text in importlib.metadata.requires(parent) or ()}
        assert child in {canonicalize_name(name) for name in required}


def test_every_dependency_has_its_sentence_in_the_decision_on_dependencies():
    text = text_of(ROOT / "docs/decisions/0002-dependencies.md")
    explained = set(re.findall(r"^- `([a-z0-9-]+)`", text, re.MULTILINE))
    assert explained == declared().keys() | THROUGH.keys() | {"setuptools"}


# The tree


def test_no_file_names_a_package_registry_or_a_path_of_one_machine():
    # Written so that this file does not match itself.
    forbidden = re.compile(
        r"(?<![\w.])/(?:work|root|home)/|pypi\.(?:org|python)|pythonhosted\.org|"
        r"--(?:extra-)?index-url\b|(?:docker|ghcr|quay)\.io/"
    )
    found = {
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in project_files()
        if (match := forbidden.search(text_of(path)))
    }
    assert found == set()


def test_there_is_no_lock_file_since_they_name_registries():
    names = {path.name for path in project_files()}
    assert names.isdisjoint({"uv.lock", "poetry.lock", "Pipfile.lock", "pdm.lock"})


def test_the_envoy_folder_holds_no_python_so_that_the_wheels_package_is_found():
    assert [path for path in project_files() if path.match("envoy/**/*.py")] == []
    assert not (ROOT / "envoy/__init__.py").exists()


def test_every_package_says_that_it_is_typed():
    assert [name for name in PACKAGES if not (ROOT / name / "py.typed").is_file()] == []


def test_tests_are_found_by_path_and_named_once():
    names = [path.name for path in project_files() if path.match("tests/**/test_*.py")]
    assert sorted(names) == sorted(set(names))
    assert not [path for path in project_files() if path.match("tests/**/__init__.py")]


def test_every_suppressed_warning_in_the_code_names_its_code_and_its_reason():
    """A reason stands behind the codes, or as a comment of its own on the line above."""
    well_formed = re.compile(
        r"#\s*(?:ruff: )?noqa: [A-Z]+\d+(?:, ?[A-Z]+\d+)*(?P<noqa>.*)"
        r"|# type: ignore\[[a-z-]+(?:, ?[a-z-]+)*\](?P<mypy>.*)"
    )
    bare = []
    for path in project_files():
        if path.suffix != ".py":
            continue
        lines = text_of(path).splitlines()
        for token in tokenize.generate_tokens(io.StringIO(text_of(path)).readline):
            comment = token.string
            if token.type != tokenize.COMMENT or not re.match(r"#.*(noqa|type: ignore)", comment):
                continue
            match = well_formed.search(comment)
            reason = match and (match["noqa"] or match["mypy"] or "").strip(" -#()")
            above = lines[token.start[0] - 2].lstrip().startswith("#")
            if match is None or not (reason or above):
                bare.append(f"{path.relative_to(ROOT)}:{token.start[0]}: {comment}")
    assert bare == []


def test_every_rule_that_is_switched_off_says_why():
    lines = text_of(ROOT / "pyproject.toml").split("[tool.ruff.lint]")[1].splitlines()
    rules = [line for line in lines if re.match(r'\s*"[A-Z]+\d*",', line)]
    assert len(rules) > 10
    assert [line for line in rules if not re.search(r"# \w+", line)] == []


def test_the_size_budget_holds():
    result = subprocess.run(
        [sys.executable, ROOT / "tests/size_budget.py"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()] == sorted(PACKAGES)


def test_what_ci_runs_is_the_readmes_command():
    assert text_of(ROOT / ".ci/run").rstrip().endswith("exec make test")
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


# The image


def instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of the Dockerfile, comments out and continuations joined."""
    lines = [
        line
        for line in text_of(ROOT / "Dockerfile").splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (word.upper(), rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.splitlines())
    ]


def final_stage() -> list[tuple[str, str]]:
    steps = instructions()
    last = max(index for index, (word, _) in enumerate(steps) if word == "FROM")
    return steps[last + 1 :]


def arguments(word: str) -> list[str]:
    return [rest for instruction, rest in final_stage() if instruction == word]


def test_the_image_is_built_in_stages_on_a_base_that_can_be_replaced():
    steps = instructions()
    assert [rest for word, rest in steps if word == "ARG"] == ["BASE=python:3.11-slim"]
    stages = [rest for word, rest in steps if word == "FROM"]
    assert stages == ["${BASE} AS build", "${BASE} AS runtime"]


def test_the_image_takes_nothing_from_an_address():
    assert "ADD" not in [word for word, _ in instructions()]
    assert not re.search(r"https?://(?!127\.0\.0\.1)|curl|wget", text_of(ROOT / "Dockerfile"))


def test_the_image_installs_pinned_wheels_and_asks_no_index_the_second_time():
    commands = [rest for word, rest in instructions() if word == "RUN"]
    build = commands[0]
    assert "pip wheel" in build
    assert "--constraint requirements.txt" in build
    assert "--no-index --find-links /wheels headrace" in build


def test_the_final_stage_brings_no_build_tools():
    commands = " ".join(arguments("RUN"))
    assert not re.search(r"apt-get|gcc|make\b|pip install|pip wheel", commands)
    assert "pip uninstall --yes --quiet pip setuptools wheel" in commands
    assert arguments("COPY") == ["--from=build /opt/headrace /opt/headrace"]


def test_the_image_runs_as_a_numbered_user_without_privileges():
    [user] = arguments("USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    order = [word for word, _ in final_stage()]
    assert "RUN" not in order[order.index("USER") :]


def test_the_image_runs_headrace_on_a_read_only_root():
    assert arguments("ENTRYPOINT") == ['["headrace"]']
    [command] = arguments("CMD")
    assert json.loads(command)[0] == "serve"
    [environment] = arguments("ENV")
    assert {"HOME=/tmp", "PYTHONDONTWRITEBYTECODE=1"} <= set(environment.split())
    assert arguments("VOLUME") == []
    [check] = arguments("HEALTHCHECK")
    assert "http://127.0.0.1:9090/readyz" in check


def test_the_image_says_what_it_is():
    [label] = arguments("LABEL")
    keys = set(re.findall(r"(org\.opencontainers\.image\.\w+)=", label))
    assert {one.rpartition(".")[2] for one in keys} == {"title", "description", "licenses"}
    assert pyproject()["project"]["license"] in label


def test_the_builder_gets_what_it_copies_and_nothing_else():
    build = instructions()[: -len(final_stage())]
    copied = {source for word, rest in build if word == "COPY" for source in rest.split()[:-1]}
    lines = text_of(ROOT / ".dockerignore").splitlines()
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert "*" in lines
    assert copied == allowed
    assert set(PACKAGES) <= copied
    assert [name for name in copied if not (ROOT / name).exists()] == []
