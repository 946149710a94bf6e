"""A model behind an address: asked as documented, within its limits, and nowhere else."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from robustkit.cli import cli
from robustkit.errors import RefusedError, ToolError, UserError
from robustkit.loading import Service, load
from robustkit.loading.endpoint import BudgetSpent, Endpoint, read_answer
from robustkit.zoo import load_model, load_samples

Answer = tuple[int, dict[str, str], Any]


class Service_(ThreadingHTTPServer):  # noqa: N801 - the real one is robustkit's
    """The zoo's model on the loopback; `script` are answers to give instead, in turn."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.script: list[Answer] = []
        self.key = "logits"
        self.model = load_model("digits-standard")

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/predict"

    def answer(self, request: dict[str, Any]) -> Answer:
        if self.script:
            return self.script.pop(0)
        given = request["instances"]
        if isinstance(given, dict):
            assert given["dtype"] == "float32"
            flat = np.frombuffer(base64.b64decode(given["b64"]), "<f4").copy()
            x = torch.from_numpy(flat).reshape(given["shape"])
        else:
            x = torch.tensor(given)
        with self.model.frozen(), torch.no_grad():
            logits = self.model(x)
        rows = logits.softmax(1) if self.key == "probabilities" else logits
        return 200, {}, {self.key: rows.tolist()}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Service_

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        self.server.headers.append(dict(self.headers))
        self.server.paths.append(self.path)
        status, headers, content = self.server.answer(body)
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *given: Any) -> None:
        """Say nothing."""


@pytest.fixture
def service() -> Iterator[Service_]:
    server = Service_()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def x() -> torch.Tensor:
    return load_samples("digits").pixels(slice(0, 3))


def endpoint(address: str, **limits: Any) -> tuple[Endpoint, list[float]]:
    """An endpoint whose pauses are noted, not slept."""
    pauses: list[float] = []
    return Endpoint(address, Service(**limits), pause=pauses.append, clock=lambda: 0.0), pauses


@pytest.mark.parametrize("form", ["", "#base64"])
@pytest.mark.parametrize("key", ["logits", "probabilities"])
def test_every_form_gives_the_model_s_own_answer(service: Service_, x, form: str, key: str) -> None:
    service.key = key
    model = load(service.address + form)
    expected = load_model("digits-standard")
    with expected.frozen(), torch.no_grad():
        wanted = expected(x).softmax(1)
    torch.testing.assert_close(model(x).softmax(1), wanted)
    assert service.paths == ["/predict"], "what is behind the # stays here"


def test_the_request_is_as_documented(service: Service_, x) -> None:
    endpoint(service.address)[0](x)
    assert service.requests == [{"instances": x.tolist()}]
    assert service.headers[0]["Content-Type"] == "application/json"
    assert "Authorization" not in service.headers[0]


def test_a_token_is_sent_and_never_recorded(service: Service_, x, monkeypatch) -> None:
    monkeypatch.setenv("ROBUSTKIT_TOKEN", "s3cret")
    model = load(service.address + "?key=hidden")
    model(x)
    assert service.headers[0]["Authorization"] == "Bearer s3cret"
    assert service.paths == ["/predict?key=hidden"]
    told = model.record().model_dump_json()
    assert "s3cret" not in told
    assert "hidden" not in told


def test_trouble_that_passes_is_waited_out(service: Service_, x) -> None:
    service.script = [(503, {}, {}), (429, {"Retry-After": "7"}, {}), (503, {}, {})]
    asked, pauses = endpoint(service.address)
    assert asked(x).shape == (3, 10)
    assert pauses == [0.5, 7.0, 2.0]
    assert len(service.requests) == 4
    assert asked.asked == 3, "failed tries cost no query"


@pytest.mark.parametrize(("status", "requests"), [(503, 4), (400, 1), (404, 1), (302, 1), (500, 1)])
def test_trouble_that_stays_is_told(service: Service_, x, status: int, requests: int) -> None:
    other = {"Location": "http://example.invalid/elsewhere"}
    service.script = [(status, other, b"the model \x1b[31mis asleep")] * 4
    with pytest.raises(ToolError, match=rf"status {status}: the model .* \(after {requests} tries"):
        endpoint(service.address)[0](x)
    assert len(service.requests) == requests


def test_nobody_there_is_told(x) -> None:
    with pytest.raises(ToolError, match=r"Refused.*after 4 tries"):
        endpoint("http://127.0.0.1:1/predict")[0](x)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<html>", "<html>"),
        ([], "no object"),
        ({"scores": [[1, 2]]}, "scores"),
        ({"logits": [[1, 2]], "probabilities": [[1, 0]]}, "logits"),
        ({"logits": [[1, 2], [3, 4]]}, r"\[2, 2\] for 3"),
        ({"logits": [["a", "b"]] * 3}, "no matrix"),
        ({"logits": [[1, 2], [3], [4, 5]]}, "no matrix"),
        ({"logits": [1, 2, 3]}, r"shape \[3\]"),
        ({"probabilities": [[2, -1]] * 3}, "outside"),
    ],
)
def test_other_answers_are_refused_in_words(service: Service_, x, content: Any, told: str) -> None:
    service.script = [(200, {}, content)]
    with pytest.raises(RefusedError, match=told):
        endpoint(service.address)[0](x)


def test_probability_zero_is_finite() -> None:
    assert bool(read_answer(b'{"probabilities": [[0, 1]]}', 1).isfinite().all())


def test_no_more_is_asked_than_allowed(service: Service_, x) -> None:
    asked, _ = endpoint(service.address, queries=7)
    asked(x), asked(x)
    with pytest.raises(BudgetSpent, match="at most 7 pictures"):
        asked(x)
    assert len(service.requests) == 2


def test_requests_keep_to_the_rate(service: Service_, x) -> None:
    asked, pauses = endpoint(service.address, rate=4.0)
    for _ in range(3):
        asked(x)
    assert pauses == [0.25, 0.5]


@pytest.mark.parametrize(
    "address",
    ["http://", "http://host:port/x", "http://me:secret@host/x", "http://host/x#hex", "https:///x"],
)
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UserError) as caught:
        load(address)
    assert "secret" not in str(caught.value)


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.chdir(tmp_path)

    def call(address: str, *words: str, code: int = 0) -> str:
        begin = ["audit", address, "--data", "zoo:digits", "--samples", "6", "--out", "run"]
        result = CliRunner().invoke(
            cli, [*begin, "--threat", "linf:0.15", *words], prog_name="robustkit"
        )
        assert result.exit_code == code, result.output
        return result.output

    return call


def test_an_audit_of_an_address_is_a_black_box_audit(service: Service_, audit) -> None:
    audit(service.address, "--attack", "square:queries=30")
    record = json.loads(Path("run/audit.json").read_text())
    assert [attack["access"] for attack in record["threats"][0]["attacks"]] == ["scores"]
    assert record["threats"][0]["attacks"][0]["backwards"] == 0
    assert any("upper bound" in note for note in record["model"]["notes"])
    assert record["model"]["source"] == service.address
    asked = sum(len(request["instances"]) for request in service.requests)
    assert asked >= record["threats"][0]["attacks"][0]["forwards"] > 0
    assert record["threats"][0]["robust_accuracy"] < record["threats"][0]["clean_accuracy"]


def test_the_same_verdicts_as_with_the_model_at_hand(service: Service_, audit) -> None:
    audit(service.address, "--attack", "square:queries=30")
    rows = Path("run/samples.jsonl").read_text()
    here = ["audit", "zoo:digits-standard", "--samples", "6", "--threat", "linf:0.15",
            "--attack", "square:queries=30", "--out", "here"]  # fmt: skip
    assert CliRunner().invoke(cli, here, prog_name="robustkit").exit_code == 0
    pairs = zip(rows.splitlines(), Path("here/samples.jsonl").read_text().splitlines(), strict=True)
    for one, two in pairs:
        assert json.loads(one)["outcome"] == json.loads(two)["outcome"]


@pytest.mark.parametrize("words", [("--attack", "pgd"), ("--suite", "standard"), ("--curve",)])
def test_white_box_attacks_are_refused_before_a_query_is_spent(
    service: Service_, audit, words: tuple[str, ...]
) -> None:
    said = audit(service.address, *words, code=2)
    assert "--suite blackbox" in said
    assert "--attack square" in said
    assert len(service.requests) <= 1


def test_a_query_budget_ends_with_what_is_honest(service: Service_, audit) -> None:
    words = ("--attack", "square:queries=10", "--attack", "rays:queries=20", "--query-budget", "90")
    audit(service.address, *words, code=5)
    record = json.loads(Path("run/audit.json").read_text())
    assert record["status"] == "partial"
    assert any(finding["id"] == "RK-PARTIAL" for finding in record["findings"])
    assert sum(len(request["instances"]) for request in service.requests) <= 90
    more = tuple("900" if word == "90" else word for word in words)
    audit(service.address, *more, "--resume")
    assert json.loads(Path("run/audit.json").read_text())["status"] == "complete"
