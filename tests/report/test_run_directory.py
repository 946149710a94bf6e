"""The run directory: what is written is read back, whole or not at all, and never a half."""

import json
import math
from pathlib import Path

import pytest

from robustkit import report
from robustkit.errors import ToolError, UserError
from robustkit.report.run_directory import read_run, render_json, write_run
from tests.report.build_log import HOSTILE, build_log, hostile_log

CONTRACT = {
    "schema_version", "status", "model", "data", "threats", "findings", "trusted", "gates",
    "environment", "seed", "seconds",
}  # fmt: skip
THREAT = {
    "threat", "clean_accuracy", "robust_accuracy", "interval", "samples", "attacks",
}  # fmt: skip
ATTACK = {
    "name", "robust_accuracy_alone", "robust_accuracy_so_far", "forwards", "backwards", "seconds",
}  # fmt: skip


@pytest.mark.parametrize("make", [build_log, hostile_log])
def test_a_log_is_read_back_as_it_was(make, tmp_path):
    log = make(folder=tmp_path)
    write_run(log, tmp_path)
    again = read_run(tmp_path)
    # nan differs from itself, so logs are compared as text.
    assert render_json(again) == render_json(log)
    assert again.samples == log.samples
    assert read_run(tmp_path / "audit.json").samples == log.samples
    assert report.render(again, "html", tmp_path) == (tmp_path / "report.html").read_text()


def test_the_header_has_what_is_promised_to_machines():
    header = json.loads(render_json(build_log(("linf:8/255",))))
    assert header.keys() >= CONTRACT
    assert header["threats"][0].keys() >= THREAT
    assert header["threats"][0]["attacks"][0].keys() >= ATTACK
    assert header["model"].keys() >= {"name", "sha256", "preprocess"}
    assert header["data"].keys() >= {"name", "sha256", "samples"}
    assert header["findings"][0].keys() >= {"id", "severity", "message", "fix"}
    assert "samples" not in header


def test_what_is_not_finite_is_null_on_disk_and_nan_again_in_memory(tmp_path):
    log = build_log(("l2:1",), n=20)
    odd = log.samples[0].model_copy(update={"size": math.inf, "confidence": math.nan})
    finding = log.findings[0].model_copy(update={"evidence": {"loss": [1.0, -math.inf]}})
    write_run(log.model_copy(update={"samples": (odd,), "findings": (finding,)}), tmp_path)
    for name in ("audit.json", "samples.jsonl"):
        text = (tmp_path / name).read_text()
        assert "NaN" not in text
        assert "Infinity" not in text
    again = read_run(tmp_path)
    assert math.isnan(again.samples[0].size)
    assert math.isnan(again.samples[0].confidence)
    assert again.findings[0].evidence == {"loss": [1.0, None]}


def test_an_id_may_hold_any_line_separator(tmp_path):
    log = build_log(("l2:1",), n=3)
    ids = ["a\nb", "c\u2028d\x85e\r", HOSTILE]
    samples = tuple(
        one.model_copy(update={"id": id_}) for one, id_ in zip(log.samples, ids, strict=True)
    )
    write_run(log.model_copy(update={"samples": samples}), tmp_path)
    assert [one.id for one in read_run(tmp_path).samples] == ids


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "ValidationError"),
        ('{"schema_version": 2}', "schema version 2"),
        ('{"schema_version": 1}', "ValidationError"),
        ("[" * 100_000, "RecursionError"),
    ],
)
def test_a_damaged_log_is_an_error_that_says_where(damage, said, tmp_path):
    (tmp_path / "audit.json").write_text(damage)
    with pytest.raises(UserError, match=said) as caught:
        read_run(tmp_path)
    assert "audit.json" in caught.value.got


def test_damaged_samples_are_an_error(tmp_path):
    write_run(build_log(("l2:1",), n=5), tmp_path)
    (tmp_path / "samples.jsonl").write_text('{"threat": "l2:1"}\n')
    with pytest.raises(UserError):
        read_run(tmp_path)


def test_no_run_is_an_error_that_says_what_to_give(tmp_path):
    with pytest.raises(UserError, match="--out"):
        read_run(tmp_path / "nothing")


def test_a_page_that_fails_costs_no_numbers(tmp_path, monkeypatch):
    def fail(*_: object) -> str:
        raise RuntimeError("no page")

    monkeypatch.setattr("robustkit.report.html.render_html", fail)
    with pytest.raises(RuntimeError):
        write_run(build_log(("l2:1",), n=5), tmp_path)
    assert len(read_run(tmp_path).samples) == 5


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    write_run(build_log(("l2:1",), n=5), tmp_path)
    old = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ToolError, match="No space left"):
        write_run(build_log(("l2:1",), n=6), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == old


def test_a_folder_that_cannot_be_made_is_an_error_of_the_machine(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolError):
        write_run(build_log(("l2:1",), n=5), tmp_path / "file" / "run")


def test_an_unknown_format_is_a_user_error():
    with pytest.raises(UserError, match="markdown"):
        report.render(build_log(("l2:1",), n=5), "pdf")


def test_the_report_needs_no_torch():
    import subprocess
    import sys

    code = (
        "import sys;"
        "from robustkit.report import html, junit, markdown, sarif, cyclonedx, terminal;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'scipy', 'sklearn', 'matplotlib')))"
    )
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
