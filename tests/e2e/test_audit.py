"""`robustkit audit`, `demo`, `report`, `compare`: what leaves the process."""

import html
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from robustkit.audit import bout
from robustkit.records import AuditLog, DataRecord, GateRecord, ModelRecord, ThreatRecord
from robustkit.report.run_directory import read_run
from robustkit.verbs.auditing import exit_code, run_folder, written_out
from robustkit.verbs.demo import verdict

WEAK, HARD = "zoo:digits-standard", "zoo:digits-adversarial"
QUICK = ("--threat", "linf:0.1", "--attack", "pgd:steps=10", "--samples", "40")

NETS = """
import torch
from torch import nn

class Nan(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(64, 10)
    def forward(self, x):
        return self.inner(x.flatten(1)) * float("nan")

def fits(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
def few(): return nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
def small(): return nn.Sequential(nn.Flatten(), nn.Linear(65, 10))
def number(): return 7
def broken(): raise ValueError("no")
"""


def test_an_audit_prints_a_table_and_writes_a_run(run, folder) -> None:
    result = run("audit", WEAK, *QUICK, "--out", "run")
    log = read_run(folder / "run")
    assert log.status == "complete"
    assert len(log.samples) == 40
    assert log.command == f"robustkit audit {WEAK} {shlex.join(QUICK)}"
    assert log.command in html.unescape((folder / "run/report.html").read_text())
    assert "40 pictures" in " ".join(result.stdout.split())
    assert "pgd:steps=10" in result.stdout
    assert "written to run" in result.stderr
    assert (folder / "run/report.html").stat().st_size > 1000


def test_json_is_the_written_file_and_nothing_else(run, folder) -> None:
    result = run("audit", WEAK, *QUICK, "--out", "run", "--json")
    assert json.loads(result.stdout) == json.loads((folder / "run/audit.json").read_text())


def test_the_batch_size_does_not_change_the_result(run, folder) -> None:
    for size in ("1", "7", "auto"):
        run("audit", WEAK, *QUICK, "--batch-size", size, "--out", size)
    rows = [(folder / size / "samples.jsonl").read_text() for size in ("1", "7", "auto")]
    outcomes = [[json.loads(line)["outcome"] for line in text.splitlines()] for text in rows]
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_without_a_model_both_are_audited_side_by_side(run, folder) -> None:
    text = " ".join(run("audit", *QUICK, "--out", "runs").stdout.split())
    weak, hard = (
        read_run(folder / "runs" / name) for name in ("digits-standard", "digits-adversarial")
    )
    assert weak.robust_accuracy < hard.robust_accuracy
    assert f"{HARD} is worth shipping and {WEAK} is not" in text
    assert weak.data.samples == hard.data.samples == 40


def test_the_demo_is_the_same_and_its_json_a_list(run, folder) -> None:
    words = ("--attack", "fgsm", "--samples", "10", "--json")
    logs = json.loads(run("demo", *words).stdout)
    assert [log["model"]["name"] for log in logs] == [WEAK, HARD]
    assert [log["threats"][0]["threat"] for log in logs] == ["linf:0.1"] * 2
    assert len(list((folder / "robustkit-runs").iterdir())) == 1


@pytest.mark.parametrize(
    ("model", "words", "code"),
    [
        (WEAK, ("--at-least", "0.9"), 1),
        (HARD, ("--at-least", "0.5"), 0),
        (HARD, ("--at-least", "linf:0.1=50%", "--gate", "proven"), 0),
        (HARD, ("--at-least", "0.999"), 1),
        (HARD, ("--at-least", "0.8", "--gate", "proven"), 5),
        (WEAK, ("--at-least", "0.9", "--gate", "point"), 1),
        (WEAK, ("--fail-untrusted",), 0),
    ],
)
def test_gates_decide_the_exit_code(run, model: str, words, code: int) -> None:
    result = run("audit", model, *QUICK, *words, code=code)
    if "--at-least" in words:
        assert {0: "PASS", 1: "FAIL", 5: "UNDECIDED"}[code] in result.stdout


def test_a_budget_that_is_too_short_is_incomplete(run, folder) -> None:
    words = ("--threat", "linf:0.1", "--attack", "pgd:steps=200", "--budget", "0.01s")
    run("audit", WEAK, *words, "--out", "run", code=5)
    assert read_run(folder / "run").status == "partial"


def test_an_untrusted_number_is_told_and_can_fail(run, folder) -> None:
    (folder / "nets.py").write_text(NETS)
    words = ("audit", "py:nets.py:Nan", "--data", "zoo:digits", *QUICK)
    assert "UNTRUSTED" in run(*words).stdout
    run(*words, "--fail-untrusted", code=6)


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        ((WEAK, "--attack", "pdg"), "did you mean", 2),
        ((WEAK, "--attack", "pgd:stepps=3"), "stepps", 2),
        ((WEAK, "--suite", "quik"), "did you mean", 2),
        ((WEAK, "--threat", "linf"), "linf:8/255", 2),
        ((WEAK, "--threat", "linf:-1"), "eps >= 0", 2),
        ((WEAK, "--threat", "linf:0.1", "--at-least", "l2:1=0.4"), "audited threat", 2),
        ((WEAK, "--at-least", "45"), "fraction", 2),
        ((WEAK, "--samples", "0"), "samples >= 1", 2),
        ((WEAK, "--samples", "many"), "--samples", 2),
        ((WEAK, "--gate", "hard"), "no-breach", 2),
        ((WEAK, "--budget", "soon"), "90s", 2),
        ((WEAK, "--shard", "3/2"), "1/4", 2),
        ((WEAK, "--batch-size", "big"), "--batch-size 64", 2),
        ((WEAK, "--device", "tpu9"), "--device auto", 2),
        ((WEAK, "--resume"), "--out", 2),
        ((WEAK, "--baseline", "none"), "--baseline", 2),
        ((WEAK, "--preprocess", "cifra"), "mean=..;std=..", 2),
        (("zoo:digits",), "zoo:digits-standard", 2),
        (("none.pt", "--data", "zoo:digits"), "none.pt", 2),
        (("none.pt",), "--data", 2),
        (("--data", "zoo:digits"), "MODEL", 2),
        ((WEAK, "--data", "none"), "none", 2),
        ((WEAK, "--data", "empty"), "class folders", 4),
        ((WEAK, "--data", "zoo:letters"), "zoo:digits", 2),
        (("weights.pt", "--data", "zoo:digits"), "--arch", 2),
        (("weights.pt", "--data", "zoo:digits", "--arch", "nets.py:none"), "nets.py", 2),
        (("weights.pt", "--data", "zoo:digits", "--arch", "nets.py:small"), "nets.py:small", 4),
        (("weights.pt", "--data", "zoo:digits", "--arch", "nets.py:number"), "torch.nn.Module", 2),
        (("weights.pt", "--data", "zoo:digits", "--arch", "nets.py:broken"), "ValueError", 2),
        (("py:nets.py:few", "--data", "zoo:digits"), "labels from 0 to 1", 4),
        (("py:nets.py:small", "--data", "zoo:digits"), "64", 4),
        (("py:nets.py:none", "--data", "zoo:digits"), "nets.py", 2),
        (("evil.pt", "--data", "zoo:digits", "--arch", "nets.py:fits"), "would have run", 4),
        ((WEAK, "--data", "high.npz"), "labels from 0 to 9", 4),
        ((WEAK, "--data", "deep.npz"), "uint8", 4),
    ],
)
def test_bad_input_is_told_in_three_parts(run, folder, words, said: str, code: int) -> None:
    write_bad_input(folder)
    result = run("audit", *words, code=code)
    assert said in result.stderr
    assert "unexpected" not in result.stderr
    assert result.stdout == ""


def write_bad_input(folder: Path) -> None:
    import pickle

    import numpy as np
    import torch

    (folder / "nets.py").write_text(NETS)
    (folder / "empty").mkdir()
    weights = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).state_dict()
    torch.save(weights, folder / "weights.pt")
    (folder / "evil.pt").write_bytes(pickle.dumps(print))
    x, y = np.zeros((3, 1, 8, 8), np.uint8), np.array([0, 1, 12])
    np.savez(folder / "high.npz", x=x, y=y)
    np.savez(folder / "deep.npz", x=x.astype(np.int32), y=np.array([0, 1, 2]))


def test_all_slips_are_told_at_once(run) -> None:
    words = ("--threat", "linf:0.1", "--attack", "pdg", "--samples", "0", "--budget", "soon")
    text = run("audit", "none.pt", *words, "--resume", code=2).stderr
    for part in ("--data", "--out", "pdg", "samples >= 1", "90s"):
        assert part in text


def test_a_run_is_not_overwritten(run, folder) -> None:
    run("audit", WEAK, *QUICK, "--out", "run")
    before = (folder / "run/audit.json").read_bytes()
    assert "--resume" in run("audit", HARD, *QUICK, "--out", "run", code=2).stderr
    assert (folder / "run/audit.json").read_bytes() == before


def test_resuming_another_run_is_refused_and_the_same_one_repeats_it(run, folder) -> None:
    run("audit", WEAK, *QUICK, "--out", "run")
    before = (folder / "run/samples.jsonl").read_bytes()
    run("audit", WEAK, *QUICK, "--seed", "1", "--out", "run", "--resume", code=2)
    run("audit", WEAK, *QUICK, "--out", "run", "--resume")
    assert (folder / "run/samples.jsonl").read_bytes() == before


def test_an_interrupted_audit_goes_on_to_the_same_result(run, folder, monkeypatch) -> None:
    words = ("--threat", "linf:0.1", "--attack", "fgsm", "--attack", "pgd:steps=10")
    run("audit", WEAK, *words, "--samples", "40", "--out", "whole")
    judged, calls = bout.judged, []

    def interrupted(*given, **rest):
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return judged(*given, **rest)

    monkeypatch.setattr(bout, "judged", interrupted)
    text = run("audit", WEAK, *words, "--samples", "40", "--out", "cut", code=130).stderr
    command = text.splitlines()[-1].partition("go on with: robustkit ")[2]
    assert command.endswith("--samples 40 --out cut --resume")
    assert not (folder / "cut/audit.json").exists()
    run(*command.split())
    whole, cut = (folder / name / "samples.jsonl" for name in ("whole", "cut"))
    assert cut.read_bytes() == whole.read_bytes()


def test_an_interrupted_demo_goes_on_with_both_models(run, folder, monkeypatch) -> None:
    def interrupted(*given, **rest):
        raise KeyboardInterrupt

    words = ("--attack", "fgsm", "--samples", "20", "--out", "two runs")
    with monkeypatch.context() as patched:
        patched.setattr(bout, "judged", interrupted)
        text = run("demo", *words, code=130).stderr
    command = shlex.split(text.splitlines()[-1].partition("go on with: robustkit ")[2])
    assert command[-3:] == ["--out", "two runs", "--resume"]
    run(*command)
    logs = [read_run(path.parent) for path in sorted(folder.glob("two runs/*/audit.json"))]
    assert {log.command for log in logs} == {"robustkit audit --attack fgsm --samples 20"}
    assert len(logs) == 2


@pytest.mark.slow
def test_a_terminated_audit_says_how_to_go_on(folder) -> None:
    words = [
        "audit",
        WEAK,
        "--attack",
        "pgd:steps=100000",
        "--threat",
        "linf:0.001",
        "--out",
        "run",
    ]
    code = "from robustkit.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *words], stderr=subprocess.PIPE, text=True, cwd=folder
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "attacks" in line:
                break
        os.kill(process.pid, signal.SIGTERM)
        text = process.stderr.read()
    assert process.returncode == 143
    assert "robustkit audit zoo:digits-standard" in text
    assert text.rstrip().endswith("--out run --resume")
    assert "Traceback" not in text


@pytest.mark.parametrize("form", ["html", "markdown", "junit", "sarif", "cyclonedx", "json"])
def test_a_run_is_rendered_again(run, folder, form: str) -> None:
    run("audit", WEAK, *QUICK, "--out", "run")
    text = run("report", "run", "--format", form).stdout
    run("report", "run", "--format", form, "--out", "again")
    assert (folder / "again").read_text().strip() == text.strip()
    assert ("2.1.0" if form == "sarif" else "zoo:digits-standard") in text


def test_a_run_is_shown_again(run, folder) -> None:
    run("audit", WEAK, *QUICK, "--out", "run")
    assert "40 pictures" in " ".join(run("report", "run").stdout.split())
    assert json.loads(run("report", "run", "--json").stdout)["schema_version"] == 1
    assert "--format" in run("report", "run", "--out", "file", code=2).stderr


@pytest.mark.parametrize("verb", ["report", "compare"])
def test_a_run_that_there_is_not(run, verb: str) -> None:
    words = ("none", "none") if verb == "compare" else ("none",)
    assert "audit.json" in run(verb, *words, code=2).stderr


def test_comparing_fails_on_a_significant_drop_only(run, folder) -> None:
    run("audit", HARD, *QUICK, "--out", "hard")
    run("audit", WEAK, *QUICK, "--out", "weak")
    drop = run("compare", "hard", "weak", code=1)
    assert "DROP" in drop.stdout
    assert "no drop" in run("compare", "weak", "hard").stdout
    assert "no drop" in run("compare", "hard", "hard").stdout
    (record,) = json.loads(run("compare", "hard", "weak", "--json", code=1).stdout)
    assert record["lost"] > record["gained"]
    assert "two run directories" in run("compare", "hard", code=2).stderr


def log_of(name: str, interval: tuple[float, float], **changes: object) -> AuditLog:
    threat = ThreatRecord(
        threat="linf:0.1", clean_accuracy=0.9, robust_accuracy=sum(interval) / 2,
        interval=interval, samples=100,
    )  # fmt: skip
    log = AuditLog(
        status="complete", model=ModelRecord(name=name),
        data=DataRecord(name="data", samples=100), threats=(threat,),
    )  # fmt: skip
    return log.model_copy(update=changes)


def gate(verdict: str) -> GateRecord:
    return GateRecord.model_validate(
        {
            "threat": "linf:0.1", "mode": "no-breach", "at_least": 0.5, "robust_accuracy": 0.5,
            "interval": (0.4, 0.6), "samples": 100, "verdict": verdict, "reason": "",
        }
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "fail_untrusted", "code"),
    [
        ({}, False, 0),
        ({"gates": (gate("PASS"),)}, False, 0),
        ({"gates": (gate("UNDECIDED"),)}, False, 5),
        ({"gates": (gate("PASS"), gate("FAIL"), gate("UNDECIDED"))}, False, 1),
        ({"status": "partial"}, False, 5),
        ({"status": "partial", "gates": (gate("FAIL"),)}, False, 1),
        ({"trusted": False}, False, 0),
        ({"trusted": False}, True, 6),
        ({"trusted": False, "gates": (gate("FAIL"),)}, True, 1),
        ({"trusted": False, "gates": (gate("UNDECIDED"),)}, True, 6),
    ],
)
def test_exit_codes_in_their_order(changes, fail_untrusted: bool, code: int) -> None:
    fine = log_of("fine", (0.4, 0.6))
    changed = log_of("changed", (0.4, 0.6), **changes)
    assert exit_code([fine, changed], fail_untrusted=fail_untrusted) == code


def test_the_sentence_of_two_audits() -> None:
    weak, hard = log_of("weak", (0.1, 0.2)), log_of("hard", (0.7, 0.8))
    assert verdict(weak, hard).startswith("hard is worth shipping and weak is not")
    assert verdict(hard, weak) == verdict(weak, hard)
    assert "overlap" in verdict(log_of("a", (0.1, 0.5)), log_of("b", (0.4, 0.8)))
    assert "cannot be trusted" in verdict(weak, log_of("hard", (0.7, 0.8), trusted=False))


def test_run_folders_are_new_and_harmless(folder) -> None:
    first = run_folder("../../etc/pass wd\x1b.pt")
    assert Path(first).parent == Path("robustkit-runs")
    Path(first).mkdir(parents=True)
    assert run_folder("../../etc/pass wd\x1b.pt") != first


def test_a_command_written_out_says_what_the_flags_say_and_not_where_it_is_kept() -> None:
    flags = {"threat": ("linf:8/255", "l2:1"), "seed": 0, "fail_untrusted": True, "resume": True}
    assert written_out("audit", "a model.pt", {**flags, "out": "runs/x --out y"}) == (
        "robustkit audit 'a model.pt' --threat linf:8/255 --threat l2:1 --fail-untrusted"
    )
